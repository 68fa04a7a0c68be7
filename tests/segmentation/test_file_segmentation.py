import gzip
import hashlib
import json
import os
import shutil
import struct
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segmenting import segment_files

from lodbrain.errors import InputError, LodbrainError, OutputError, UsageError, WeightsError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels
from lodbrain.labels import STRUCTURES, relabel
from lodbrain.models import zoo
from lodbrain.segmentation.file_segmentation import segment_file
from lodbrain.segmentation.outcome import ScanOutcome, exit_code
from lodbrain.segmentation.read_ahead import ReadAhead
from lodbrain.segmentation.results import find_results
from lodbrain.segmentation.settings import Settings
from lodbrain.version import __version__

WriteScan = Callable[..., Path]

FILES = ["scan_dseg.json", "scan_dseg.nii.gz", "scan_dseg.tsv", "scan_volumes.tsv"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sidecar(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "scan_dseg.json").read_text())
    return content


def test_the_set_of_files_is_that_of_the_contract(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    outcome = segment_file(write_scan(), tmp_path / "out")
    assert outcome.status == "done"
    assert names(tmp_path / "out") == FILES


def test_labels_lie_on_the_input_grid_in_freesurfer_numbers(
    fake_model: Any, write_scan: WriteScan, classes: np.ndarray, tmp_path: Path
) -> None:
    path = write_scan()
    outcome = segment_file(path, tmp_path)
    written, scan = read_labels(outcome.outputs.labels), read_image(path)
    np.testing.assert_array_equal(written.data, relabel(classes.astype(int)))
    np.testing.assert_array_equal(written.affine, scan.affine)
    header = gzip.decompress(outcome.outputs.labels.read_bytes())[:348]
    assert struct.unpack_from("<h", header, 70) == (2,)  # uint8


def test_volumes_on_the_disk_are_voxels_times_the_determinant(
    fake_model: Any, write_scan: WriteScan, classes: np.ndarray, tmp_path: Path
) -> None:
    outputs = segment_file(write_scan(), tmp_path).outputs
    rows = [line.split("\t") for line in outputs.volumes.read_text().splitlines()]
    assert rows[0] == ["index", "name", "volume_mm3", "soft_volume_mm3", "low_mm3", "high_mm3", "note"]
    voxels = np.count_nonzero(classes == 1)
    assert rows[1] == [
        "2",
        "Left-Cerebral-White-Matter",
        f"{0.48 * voxels:.3f}",
        f"{0.36 * voxels:.3f}",
        "n/a",
        "n/a",
        "n/a",
    ]
    assert [row[:2] for row in rows[-2:]] == [["n/a", "TIV"], ["n/a", "brain"]]
    assert len(rows) == 1 + 32 + 2


def test_sidecar_says_how_the_result_was_made(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    path = write_scan()
    segment_file(path, tmp_path, Settings(device="cpu", memory_bytes=10**9))
    content = sidecar(tmp_path)
    assert content["version"] == __version__
    assert content["model"] == {"name": "default", "sha256": "a" * 64}
    assert content["settings"] == {
        "labels": "structures",
        "posteriors": False,
        "frame": None,
        "allow_odd_voxels": False,
        "postprocess": True,
    }
    assert content["input"] == {"name": "scan.nii.gz", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert content["grid"]["shape"] == [16, 15, 14]
    assert content["grid"]["spacing_mm"] == pytest.approx([0.5, 0.8, 1.2])
    assert content["grid"]["voxel_volume_mm3"] == pytest.approx(0.48)
    assert "It was seen whole." in content["notes"]
    assert content["quality"]["certainty"] == 0.75
    assert "Left-Cerebral-Cortex: " in content["quality"]["reasons"][1]
    assert (content["execution"]["device"], content["execution"]["memory_bytes"]) == ("cpu", 10**9)
    assert set(content["execution"]["seconds"]) == {"load", "read", "segment", "write", "total"}
    assert content["peak_memory_mib"] > 10
    assert set(content["files"]) == set(FILES) - {"scan_dseg.json"}


def test_sidecar_is_valid_json_even_where_quality_is_not_a_number(
    fake_model: Any, write_scan: WriteScan, tmp_path: Path
) -> None:
    fake_model.quality = {"certainty": float("nan")}
    segment_file(write_scan(), tmp_path)
    assert sidecar(tmp_path)["quality"]["certainty"] is None


def test_posteriors_are_written_on_request_and_their_order_is_in_the_sidecar(
    fake_model: Any, write_scan: WriteScan, classes: np.ndarray, tmp_path: Path
) -> None:
    outputs = segment_file(write_scan(), tmp_path, Settings(posteriors=True)).outputs
    content = sidecar(tmp_path)
    assert content["posteriors"] == [{"index": label.index, "name": label.name} for label in STRUCTURES]
    assert outputs.posteriors.name in content["files"]
    volume = read_image(outputs.posteriors, frame=5).data
    np.testing.assert_array_equal(volume, 0.75 * (classes == 5))


def test_a_scan_that_changes_meanwhile_is_noted(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    path = write_scan()
    segment_file(path, tmp_path, progress=lambda share, text: path.touch() if text == "half" else None)
    assert sidecar(tmp_path)["notes"][-1] == "The file changed while it was being segmented."


def test_a_scan_that_vanishes_meanwhile_is_noted(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    path = write_scan()
    segment_file(path, tmp_path, progress=lambda share, text: path.unlink() if text == "half" else None)
    assert sidecar(tmp_path)["notes"][-1] == "The file changed while it was being segmented."


@pytest.mark.parametrize("ahead", [False, True])
def test_nobody_holds_the_scan_while_the_network_runs(
    ahead: bool, fake_model: Any, write_scan: WriteScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[weakref.ref[Image]] = []
    inner, held = fake_model.predict, []

    def reads(path: Path, **options: Any) -> Image:
        image = read_image(path, **options)
        read.append(weakref.ref(image))
        return image

    def predict(*args: Any, **options: Any) -> Any:
        held.extend(ref() is not None for ref in read)
        return inner(*args, **options)

    monkeypatch.setattr("lodbrain.segmentation.file_segmentation.read_image", reads)
    monkeypatch.setattr("lodbrain.segmentation.read_ahead.read_image", reads)
    monkeypatch.setattr(sys.modules["lodbrain.inference.predict"], "predict", predict)
    path, settings = write_scan(), Settings()
    segment_file(path, tmp_path / "out", settings, ahead=ReadAhead(path, settings) if ahead else None)
    assert held == [False]


def test_progress_rises_from_reading_to_done(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    heard: list[tuple[float, str]] = []
    segment_file(write_scan(), tmp_path, progress=lambda share, text: heard.append((share, text)))
    assert [text for _, text in heard] == ["reading", "half", "writing", "done"]
    assert [share for share, _ in heard] == sorted(share for share, _ in heard)
    assert heard[-1][0] == 1


@pytest.mark.parametrize("left", FILES)
def test_an_output_that_exists_is_not_touched(
    left: str, fake_model: Any, write_scan: WriteScan, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / left).write_text("mine")
    with pytest.raises(InputError, match="exists already") as caught:
        segment_file(write_scan(), tmp_path / "out")
    assert caught.value.code == "exists"
    assert fake_model.calls == []
    assert (tmp_path / "out" / left).read_text() == "mine"
    assert names(tmp_path / "out") == [left]


def test_overwrite_replaces_the_whole_set(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    path, out = write_scan(), tmp_path / "out"
    segment_file(path, out, Settings(posteriors=True))
    segment_file(path, out, Settings(labels="brain", overwrite=True))
    assert names(out) == FILES  # the posteriors of the first run are gone
    assert set(np.unique(read_labels(out / "scan_dseg.nii.gz").data)) == {0, 1}


def test_resume_skips_what_is_complete(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    path = write_scan()
    segment_file(path, tmp_path)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in FILES}
    # memory, device and threads change nothing in the result
    assert segment_file(path, tmp_path, Settings(resume=True, memory_bytes=5, threads=1)).status == "skipped"
    assert len(fake_model.calls) == 1
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in FILES} == before


def change_model(fake: Any, path: Path, out: Path) -> None:
    fake.sha256 = "b" * 64


def change_input(fake: Any, path: Path, out: Path) -> None:
    path.write_bytes(path.read_bytes())
    scan = read_image(path)
    from lodbrain.images.io import write_nifti

    write_nifti(path, scan.data[::-1], scan)


def lose_a_file(fake: Any, path: Path, out: Path) -> None:
    (out / "scan_volumes.tsv").unlink()


def cut_a_file(fake: Any, path: Path, out: Path) -> None:
    os.truncate(out / "scan_dseg.nii.gz", 50)


def lose_the_sidecar(fake: Any, path: Path, out: Path) -> None:
    (out / "scan_dseg.json").unlink()


@pytest.mark.parametrize("change", [lose_a_file, cut_a_file, lose_the_sidecar])
def test_resume_redoes_what_is_not_whole(
    change: Callable[..., None], fake_model: Any, write_scan: WriteScan, tmp_path: Path
) -> None:
    path, out = write_scan(), tmp_path / "out"
    segment_file(path, out)
    change(fake_model, path, out)
    assert segment_file(path, out, Settings(resume=True)).status == "done"
    assert names(out) == FILES
    assert segment_file(path, out, Settings(resume=True)).status == "skipped"


@pytest.mark.parametrize(
    "setting", [{"labels": "tissue"}, {"posteriors": True}, {"allow_odd_voxels": True}, {"postprocess": False}]
)
def test_resume_does_not_replace_what_was_made_with_other_settings(
    setting: dict[str, Any], fake_model: Any, write_scan: WriteScan, tmp_path: Path
) -> None:
    path, out = write_scan(), tmp_path / "out"
    segment_file(path, out)
    before = {name: (out / name).read_bytes() for name in FILES}
    ((name, value),) = setting.items()
    with pytest.raises(InputError, match=rf"or another scan \({name}: .*, now {value}\)\. Use --overwrite") as caught:
        segment_file(path, out, Settings(resume=True, **setting))
    assert caught.value.code == "made-otherwise"
    assert {name: (out / name).read_bytes() for name in names(out)} == before
    assert segment_file(path, out, Settings(overwrite=True, **setting)).status == "done"


@pytest.mark.parametrize(("change", "what"), [(change_model, "model"), (change_input, "input")])
def test_resume_does_not_replace_what_was_made_from_another_model_or_scan(
    change: Callable[..., None], what: str, fake_model: Any, write_scan: WriteScan, tmp_path: Path
) -> None:
    path, out = write_scan(), tmp_path / "out"
    segment_file(path, out)
    change(fake_model, path, out)
    with pytest.raises(InputError, match=f"the {what} has changed"):
        segment_file(path, out, Settings(resume=True))


def test_a_name_that_is_not_utf_8_is_kept_in_the_results_and_resumed(
    fake_model: Any, write_scan: WriteScan, tmp_path: Path
) -> None:
    path = tmp_path / os.fsdecode(b"M\xfcller.nii.gz")
    write_scan().rename(path)
    outcome = segment_file(path, tmp_path / "out")
    assert os.fsencode(outcome.outputs.labels.name) == b"M\xfcller_dseg.nii.gz"
    content = json.loads(outcome.outputs.sidecar.read_bytes().decode("utf-8"))
    assert content["input"]["name"] == "M\\xfcller.nii.gz"
    assert "M\\xfcller_dseg.nii.gz" in content["files"]
    assert segment_file(path, tmp_path / "out", Settings(resume=True)).status == "skipped"
    assert len(find_results([tmp_path / "out"])) == 1


class Killed(BaseException):
    pass


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Make the process die before its n-th rename: no clean-up of ours runs after that."""
    rename, remove = os.replace, shutil.rmtree

    def arm(last: int) -> None:
        left = iter(range(last))

        def replace(source: Any, target: Any) -> None:
            if next(left, None) is None:
                monkeypatch.setattr(shutil, "rmtree", lambda *args, **options: None)
                raise Killed
            rename(source, target)

        monkeypatch.setattr(os, "replace", replace)
        monkeypatch.setattr(shutil, "rmtree", remove)

    yield arm
    monkeypatch.undo()


@pytest.mark.parametrize("settings", [Settings(), Settings(overwrite=True, labels="tissue")])
def test_a_kill_at_any_moment_leaves_nothing_half_and_resume_finishes(
    settings: Settings,
    kill_at: Callable[[int], None],
    fake_model: Any,
    write_scan: WriteScan,
    tmp_path: Path,
) -> None:
    path = write_scan()
    kills = 0
    for moment in range(100):
        out = tmp_path / f"out{moment}"
        kill_at(10**6)
        if settings.overwrite:
            segment_file(path, out)
        kill_at(moment)
        try:
            segment_file(path, out, settings)
        except Killed:
            kills += 1
        else:
            break
        finally:
            kill_at(10**6)
        # a sidecar is there only if the set, old or new, is whole
        if (out / "scan_dseg.json").exists():
            assert segment_file(path, out, Settings(resume=True)).status == "skipped"
        for file in out.glob("*.nii.gz"):
            read_labels(file)
        whole = (out / "scan_dseg.json").exists()
        finish = Settings(labels=settings.labels, resume=not whole, overwrite=whole)
        assert segment_file(path, out, finish).status == "done"
        assert names(out) == FILES
        assert sidecar(out)["settings"]["labels"] == settings.labels
    assert kills == 8  # four files, each renamed twice


def test_a_full_disk_ends_the_command_and_leaves_the_earlier_result(
    fake_model: Any, write_scan: WriteScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_scan(), tmp_path / "out"
    segment_file(path, out)
    before = {name: (out / name).read_bytes() for name in FILES}

    def full(*args: Any, **options: Any) -> None:
        raise OutputError("disk-full", args[0], "the disk is full")

    monkeypatch.setattr("lodbrain.segmentation.file_segmentation.write_image", full)
    with pytest.raises(OutputError, match=r"out/scan_dseg\.nii\.gz: the disk is full"):
        segment_files([path, write_scan("in/b.nii")], out, Settings(overwrite=True))
    assert {name: (out / name).read_bytes() for name in names(out)} == before


def test_one_bad_input_does_not_stop_the_others(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    write_scan("in/a.nii.gz")
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"")
    write_scan("in/c.nii")
    heard: list[ScanOutcome] = []
    outcomes = segment_files([tmp_path / "in", tmp_path / "gone.nii"], tmp_path / "out", finished=heard.append)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done", "failed"]
    assert heard == outcomes
    assert [outcome.error.code for outcome in outcomes if outcome.error] == ["empty", "missing"]
    assert exit_code(outcomes) == 3
    assert not any(name.startswith((".", "b_")) for name in names(tmp_path / "out"))


def test_a_bug_met_in_one_scan_does_not_stop_the_others_and_is_owned_up_to(
    fake_model: Any, write_scan: WriteScan, tmp_path: Path
) -> None:
    write_scan("in/a.nii")
    fake_model.error = ZeroDivisionError("division by zero")
    (outcome,) = segment_files([tmp_path / "in"], tmp_path / "out")
    assert outcome.error is not None
    assert "a.nii: internal error: ZeroDivisionError: division by zero. This is a bug" in str(outcome.error)
    assert exit_code([outcome]) == 70
    assert names(tmp_path / "out") == []


def test_an_error_of_inference_names_the_file(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    path = write_scan()
    fake_model.error = InputError("no-brain", None, "no brain was found in it")
    with pytest.raises(InputError, match=r"in/scan\.nii\.gz: no brain was found"):
        segment_file(path, tmp_path / "out")


def test_too_little_memory_fails_one_scan(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    fake_model.error = MemoryError()
    (outcome,) = segment_files([write_scan()], tmp_path / "out")
    assert outcome.error is not None and outcome.error.code == "memory"
    assert exit_code([outcome]) == 4


def test_a_true_clash_is_refused_before_any_work(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="same names"):
        segment_files([write_scan("x/a.nii"), write_scan("x/a.nii.gz")], tmp_path / "out")
    assert fake_model.calls == []
    assert not (tmp_path / "out").exists()


def test_same_stems_mirror_their_folders_and_resume_finds_them(
    fake_model: Any, write_scan: WriteScan, tmp_path: Path
) -> None:
    scans = [write_scan(f"fs/{name}/mri/orig.nii.gz") for name in ("s1", "s2")]
    outcomes = segment_files([f"{tmp_path}/fs/*/mri/orig.nii.gz"], tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.nii.gz")) == [
        "s1/mri/orig_dseg.nii.gz",
        "s2/mri/orig_dseg.nii.gz",
    ]
    again = segment_files(scans, tmp_path / "out", Settings(resume=True))
    assert [outcome.status for outcome in again] == ["skipped", "skipped"]
    assert [result.scan for result in find_results([tmp_path / "out"])] == ["s1/mri/orig", "s2/mri/orig"]


def test_structures_of_a_tissue_model_are_refused_before_any_work(
    fake_model: Any, write_scan: WriteScan, tmp_path: Path
) -> None:
    fake_model.labels = "tissue"
    with pytest.raises(UsageError, match="six tissue classes"):
        segment_files([write_scan()], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_written_is_refused_before_the_model_is_loaded(
    fake_model: Any, write_scan: WriteScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "load", lambda name: pytest.fail("the model was loaded"))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        segment_files([write_scan()], tmp_path / "file")


def test_weights_that_are_not_right_stop_everything(
    fake_model: Any, write_scan: WriteScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> None:
        raise WeightsError("sha256", name, "is not the file of default")

    monkeypatch.setattr(zoo, "load", load)
    with pytest.raises(WeightsError):
        segment_files([write_scan(), tmp_path / "gone.nii"], tmp_path / "out")


def test_an_input_that_is_an_output_of_another_is_refused(
    fake_model: Any, write_scan: WriteScan, tmp_path: Path
) -> None:
    scan, its_labels = write_scan("in/a.nii.gz"), write_scan("in/a_dseg.nii.gz")
    before = its_labels.read_bytes()
    outcomes = segment_files([scan, its_labels], tmp_path / "in", Settings(overwrite=True))
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert outcomes[0].error is not None and outcomes[0].error.code == "input-is-output"
    assert its_labels.read_bytes() == before


def test_progress_covers_all_scans(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    heard: list[tuple[float, str]] = []
    given = [write_scan("in/a.nii"), write_scan("in/b.nii")]
    segment_files(given, tmp_path / "out", progress=lambda share, text: heard.append((round(share, 2), text)))
    assert (0.0, "a.nii: reading") in heard and (0.5, "b.nii: reading") in heard
    assert heard[-1] == (1.0, "b.nii: done")


def outcome_of(error: LodbrainError | None, status: Any = "failed") -> ScanOutcome:
    from lodbrain.segmentation.outputs import Outputs

    return ScanOutcome(Path("a"), status, Outputs(Path("o"), "a"), error=error)


def test_exit_code_tells_some_from_all() -> None:
    done, skipped = outcome_of(None, "done"), outcome_of(None, "skipped")
    failed, bug = outcome_of(InputError("x", None, "x")), outcome_of(LodbrainError("bug", None, "x"))
    assert exit_code([done, skipped]) == 0
    assert exit_code([done, failed]) == exit_code([skipped, failed]) == 3
    assert exit_code([failed, failed]) == 4
    assert exit_code([done, failed, bug]) == 70
