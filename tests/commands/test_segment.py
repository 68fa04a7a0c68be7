import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lodbrain import commands
from lodbrain.commands import many
from lodbrain.errors import LodbrainError, OutputError, WeightsError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels, write_nifti
from lodbrain.labels import BRAIN
from lodbrain.segmentation.jobs import Job, segment_jobs
from lodbrain.segmentation.outcome import ScanOutcome
from lodbrain.segmentation.outputs import Outputs
from lodbrain.segmentation.scan import Segmentation
from lodbrain.segmentation.settings import Settings
from lodbrain.segmentation.volume_table import Volume

Write = Callable[..., Path]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Replace the network: everything above 1 is brain. What was asked for is listed."""
    settings: list[Settings] = []

    class Model:
        class card:
            name = "fake"

        sha256 = "0" * 64
        device = "cpu"
        network = None

    def load_model(wanted: Settings) -> type[Model]:
        settings.append(wanted)
        return Model

    def segment_image(image: Image, model: Any, **options: Any) -> Segmentation:
        labels = (image.data > 1).astype(np.uint8)
        volumes = (Volume(None, "brain", 1_234_567.0, 1_234_000.0),)
        return Segmentation(labels, image.affine, BRAIN, volumes, notes=image.notes)

    monkeypatch.setattr("lodbrain.segmentation.jobs.load_model", load_model)
    monkeypatch.setattr("lodbrain.segmentation.file_segmentation.segment_image", segment_image)
    return settings


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def scan(name: str, *, frames: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (6, 5, 4, frames) if frames else (6, 5, 4)
        values = np.random.default_rng(0).uniform(0, 2, shape).astype(np.float32)
        write_nifti(path, values, Image(values, np.diag([1.0, 2.0, 3.0, 1.0])))
        return path

    return scan


def run(*words: object) -> int:
    return commands.main(["segment", *map(str, words)])


def test_one_scan_gives_the_files_and_one_line(
    asked: list[Settings], write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, out = write("scan.nii.gz"), tmp_path / "out"
    assert run(scan, "-o", out) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "scan_dseg.json", "scan_dseg.nii.gz", "scan_dseg.tsv", "scan_volumes.tsv",
    ]  # fmt: skip
    np.testing.assert_array_equal(read_labels(out / "scan_dseg.nii.gz").data, read_image(scan).data > 1)
    text = capsys.readouterr()
    assert text.out.startswith(f"scan.nii.gz: {out}/scan_dseg.nii.gz, brain 1235 ml, ")
    assert (text.out.count("\n"), text.err) == (1, "")
    assert asked == [Settings()]


def test_flags_become_settings(asked: list[Settings], write: Write, tmp_path: Path) -> None:
    words = "--labels tissue --model other --device cpu --memory 2GiB --threads 3 --posteriors --resume --frame 1"
    assert run(write("a.nii", frames=2), "--out", tmp_path / "out", *words.split(), "--allow-odd-voxels") == 0
    assert asked == [
        Settings(
            labels="tissue",
            model="other",
            device="cpu",
            memory_bytes=2 * 1024**3,
            threads=3,
            posteriors=True,
            resume=True,
            frame=1,
            allow_odd_voxels=True,
        )
    ]


def test_files_folders_and_globs_go_together(
    asked: list[Settings], write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x/deep/b.nii.gz"), write("y/c1.nii"), write("y/c2.nii")
    assert run(write("a.nii"), tmp_path / "x", f"{tmp_path}/y/*.nii", "-o", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == [
        "a_dseg.json", "b_dseg.json", "c1_dseg.json", "c2_dseg.json",
    ]  # fmt: skip
    assert capsys.readouterr().out.splitlines()[-1] == "4 done"
    assert len(asked) == 1  # one model for all


@pytest.mark.parametrize("more", [[], ["--jobs", "2"]], ids=["one process", "jobs"])
def test_two_scans_of_one_name_are_both_done_and_a_link_is_told(
    more: list[str],
    asked: list[Settings],
    write: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if more:
        places: list[Path] = []

        def run_jobs(jobs: Sequence[Job], settings: Settings, **options: Any) -> list[ScanOutcome]:
            places.extend(job.outputs.labels for job in jobs)
            return segment_jobs(jobs, settings, finished=options["finished"])

        monkeypatch.setattr("lodbrain.batch.cluster_run.run_jobs", run_jobs)
    scans = write("in/s1/T1.nii.gz"), write("in/s2/T1.nii.gz")
    (tmp_path / "in" / "link.nii.gz").symlink_to(scans[0])
    assert run(tmp_path / "in", "-o", tmp_path / "out", *more) == 0
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.json"))
    assert found == ["s1/T1_dseg.json", "s2/T1_dseg.json"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path}/in/link.nii.gz: the same file as {scans[0]}, which is segmented once"
    assert lines[-1] == "2 done"


def test_some_failed_is_3_and_the_others_are_complete(
    asked: list[Settings], write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.nii").touch()
    assert run(write("a.nii"), tmp_path / "gone.nii", tmp_path / "empty.nii", "-o", tmp_path / "out") == 3
    text = capsys.readouterr()
    assert text.out.splitlines()[-1] == "1 done, 2 failed"
    lines = text.err.splitlines()
    assert [line.startswith("lodbrain: ") for line in lines] == [True, True]
    assert "gone.nii: there is no such file" in lines[0] and "empty.nii" in lines[1]
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_all_failed_is_4(asked: list[Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "gone.nii", "-o", tmp_path / "out") == 4
    text = capsys.readouterr()
    assert (text.out, text.err.count("\n")) == ("", 1)
    assert asked == []
    assert not (tmp_path / "out").exists()


def test_existing_output_fails_without_resume_or_overwrite(
    asked: list[Settings], write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, out = write("a.nii"), tmp_path / "out"
    assert run(scan, "-o", out) == 0
    assert run(scan, "-o", out) == 4
    assert "a_dseg.nii.gz: this output exists already. Use --resume" in capsys.readouterr().err
    assert run(scan, "-o", out, "--resume") == 0
    assert capsys.readouterr().out == f"a.nii: {out}/a_dseg.nii.gz is complete, skipped\n"
    assert run(scan, "-o", out, "--overwrite") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "lobes"], "lobes"),
        (["--memory", "much"], "memory must be an amount like 4GB"),
        (["--threads", "0"], "threads must be at least 1"),
        (["--frame", "-1"], "frame must be at least 0"),
        (["--resume", "--overwrite"], "resume and overwrite exclude each other"),
        (["--colour"], "--colour"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--jobs", "2", "--scheduler", "tcp://a:1"], "Give one of the two"),
    ],
)
def test_wrong_usage_is_2_before_any_work(
    words: list[str],
    message: str,
    asked: list[Settings],
    write: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(write("a.nii"), "-o", tmp_path / "out", *words) == 2
    text = capsys.readouterr()
    assert message in text.err
    assert text.err.count("\n") == 1
    assert asked == []
    assert not (tmp_path / "out").exists()


def test_two_inputs_of_one_stem_are_2(asked: list[Settings], write: Write, tmp_path: Path) -> None:
    assert run(write("x/a.nii"), write("x/a.nii.gz"), "-o", tmp_path / "out") == 2
    assert asked == []


@pytest.mark.parametrize("words", [[], ["-o", "out"], ["a.nii"]])
def test_input_and_output_must_be_named(words: list[str]) -> None:
    assert run(*words) == 2


def test_structures_of_the_six_class_model_are_2(write: Write, tmp_path: Path) -> None:
    assert run(write("a.nii"), "-o", tmp_path / "out", "--model", "lod-brain-2024") == 2


@pytest.mark.parametrize(
    ("error", "status"), [(WeightsError("sha256", "w", "x"), 5), (OutputError("full", "o", "x"), 6)]
)
def test_weights_and_output_have_their_own_status(
    error: LodbrainError,
    status: int,
    asked: list[Settings],
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(settings: Settings) -> None:
        raise error

    monkeypatch.setattr("lodbrain.segmentation.jobs.load_model", fail)
    assert run(write("a.nii"), "-o", tmp_path / "out") == status


def test_an_output_folder_that_is_a_file_is_6(asked: list[Settings], write: Write, tmp_path: Path) -> None:
    scan = write("a.nii")
    before = scan.read_bytes()
    assert run(scan, "-o", scan) == 6
    assert scan.read_bytes() == before


def test_quiet_prints_errors_only(
    asked: list[Settings], write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write("a.nii"), tmp_path / "gone.nii", "-o", tmp_path / "out", "-q") == 3
    text = capsys.readouterr()
    assert (text.out, text.err.count("\n")) == ("", 1)


def test_names_of_any_script_are_kept(asked: list[Settings], write: Write, tmp_path: Path) -> None:
    assert run(write("Größe 頭 [1].nii.gz"), "-o", tmp_path / "Aus gabe") == 0
    content = json.loads((tmp_path / "Aus gabe" / "Größe 頭 [1]_dseg.json").read_text(encoding="utf-8"))
    assert content["input"]["name"] == "Größe 頭 [1].nii.gz"


def test_help_names_every_flag_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    flags = "-o --out --labels --model --device --memory --threads --posteriors --resume --overwrite --frame"
    assert [
        flag
        for flag in [*flags.split(), "--allow-odd-voxels", "--no-postprocess", "--jobs", "--scheduler"]
        if flag not in text
    ] == []
    assert text.count("--no-") == 1  # no negations that nobody asked for


def test_jobs_and_scheduler_say_where_the_work_is_done(
    asked: list[Settings], write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lodbrain.batch import cluster_run as batch

    places: list[batch.Workplace] = []

    def run_jobs(jobs: list[Any], settings: Settings, *, place: batch.Workplace, **options: Any) -> list[Any]:
        places.append(place)
        return []

    monkeypatch.setattr(batch, "run_jobs", run_jobs)
    scan = write("a.nii")
    assert run(scan, "-o", tmp_path / "out", "--jobs", "2") == 0
    assert run(scan, "-o", tmp_path / "out", "--scheduler", "tcp://a:1") == 0
    assert places == [batch.Workplace(processes=2), batch.Workplace(scheduler="tcp://a:1")]
    assert asked == []


def test_qc_warnings_are_counted_in_the_lines_of_the_command(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, "a")
    brain = (Volume(None, "brain", 1_234_567.0, 1_234_000.0),)
    good = ScanOutcome(tmp_path / "a.nii", "done", outputs, brain, 2.0)
    odd, bad = replace(good, signs=1), replace(good, signs=17)
    assert many.result_line(good).endswith("brain 1235 ml, 2.0 s")
    assert many.result_line(odd).endswith("brain 1235 ml, 1 QC warning, 2.0 s")
    assert many.result_line(bad).endswith("brain 1235 ml, 17 QC warnings, 2.0 s")
    assert many.summary([good]) == "1 done"
    assert many.summary([good, odd, bad]) == "3 done; 2 with QC warnings: inspect them"
