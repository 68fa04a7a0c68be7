"""What the options of `lodbrain bids` ask for; no scan is segmented."""

import json
from pathlib import Path

import pytest

from lodbrain.commands import main
from lodbrain.commands.options import SegmentOptions
from lodbrain.segmentation.jobs import Job
from lodbrain.segmentation.outcome import ScanOutcome
from lodbrain.segmentation.outputs import Outputs
from lodbrain.segmentation.settings import Settings


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    for name in ("sub-01/ses-1/anat/sub-01_ses-1_T1w", "sub-01/ses-2/anat/sub-01_ses-2_T1w", "sub-02/anat/sub-02_T1w"):
        path = tmp_path / "raw" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"scan")
    (tmp_path / "raw" / "sub-03").mkdir()
    return tmp_path / "raw"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Settings, SegmentOptions, Path | None]]:
    """The scans, settings, options and folder for temporary files of each call that would segment."""
    calls: list[tuple[list[str], Settings, SegmentOptions, Path | None]] = []

    def do_jobs(
        jobs: list[Job], settings: Settings, options: SegmentOptions, *, scratch: Path | None
    ) -> list[ScanOutcome]:
        calls.append(([job.outputs.stem for job in jobs], settings, options, scratch))
        return [
            ScanOutcome(job.path, "failed" if job.problem else "done", job.outputs, error=job.problem) for job in jobs
        ]

    monkeypatch.setattr("lodbrain.commands.bids.do_jobs", do_jobs)
    return calls


def run(data_set: Path, *words: object, level: str = "participant") -> int:
    return main(["bids", str(data_set), str(data_set.parent / "out"), level, *map(str, words)])


@pytest.mark.parametrize("option", ["--participant-label", "--participant_label"])
def test_participants_are_chosen_with_or_without_the_prefix(option: str, data_set: Path, asked: list) -> None:
    assert run(data_set, option, "sub-01", "02", "--session-id", "ses-2", "--labels", "tissue", "--jobs", "3") == 3
    stems, settings, options, scratch = asked[0]
    assert stems == ["sub-01_ses-2_seg-lodbrain_desc-T1w", "sub-02_seg-lodbrain_desc-T1w"]  # 02 has no session 2
    assert settings == Settings(labels="tissue")
    assert (options, scratch) == (SegmentOptions(labels="tissue", jobs=3), None)


def test_all_scans_and_settings_arrive(data_set: Path, asked: list, tmp_path: Path) -> None:
    words = "--model m --device cpu --memory 4GB --threads 2 --posteriors --resume --report --scheduler tcp://a:1 -q"
    assert run(data_set, *words.split(), "-w", tmp_path / "work", "--skip-bids-validation") == 0
    stems, settings, options, scratch = asked[0]
    assert len(stems) == 3
    assert settings == Settings(
        model="m", device="cpu", memory_bytes=4_000_000_000, threads=2, posteriors=True, report=True, resume=True
    )
    assert (options.jobs, options.scheduler, options.report, options.quiet) == (1, "tcp://a:1", True, True)
    assert scratch == tmp_path / "work"


def test_dry_run_says_what_would_be_done_and_writes_nothing(
    data_set: Path, asked: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data_set / "sub-02" / "anat" / "sub-02_run-2_T1w.nii").symlink_to("../../.git/annex/objects/x")
    assert run(data_set, "--dry-run") == 3
    text = capsys.readouterr()
    assert text.out.splitlines() == [
        "skipped, without such a scan: 1 participant(s), sub-03",
        *(
            f"{data_set}/{place}_T1w.nii.gz -> {tmp_path}/out/{place}_seg-lodbrain_desc-T1w_dseg.nii.gz"
            for place in ("sub-01/ses-1/anat/sub-01_ses-1", "sub-01/ses-2/anat/sub-01_ses-2", "sub-02/anat/sub-02")
        ),
        "3 to do, 1 cannot be done; nothing was written",
    ]
    assert text.err.count("datalad get") == 1
    assert asked == []
    assert not (tmp_path / "out").exists()


def test_for_smriprep_only_t1w_are_taken_and_sessions_are_told(
    data_set: Path, asked: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data_set / "sub-02" / "anat" / "sub-02_UNIT1.nii.gz").write_bytes(b"scan")
    assert run(data_set, "--for", "smriprep") == 0
    stems, settings, _, _ = asked[0]
    assert settings == Settings(tissue_maps=True)
    assert stems[2:] == ["sub-02_seg-lodbrain_desc-T1w"]
    told = "scans of several sessions: sub-01; give sMRIPrep --subject-anatomical-reference sessionwise"
    assert told in capsys.readouterr().out.splitlines()
    assert run(data_set) == 0
    assert "sessionwise" not in capsys.readouterr().out


def test_for_smriprep_scans_that_it_would_average_or_confuse_are_refused(
    data_set: Path, asked: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data_set / "sub-02" / "anat" / "sub-02_run-2_T1w.nii").symlink_to("../../.git/annex/objects/x")
    other = tmp_path / "out" / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_acq-old_desc-brain_mask.nii.gz"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"mask")
    assert run(data_set, "--for", "smriprep", "--dry-run") == 3
    text = capsys.readouterr().err.splitlines()
    assert len(text) == 3
    assert f"{other} is there already, and sMRIPrep cannot tell two brain masks apart" in text[0]
    assert any("sMRIPrep would average it with the other scans of its session (2 in all)" in line for line in text[1:])
    (tmp_path / "filter.json").write_text('{"t1w": {"run": null}}')
    other.unlink()
    assert run(data_set, "--for", "smriprep", "--bids-filter-file", tmp_path / "filter.json") == 0
    assert run(data_set, "--for", "fmriprep") == 2


def test_a_model_without_csf_makes_no_maps_for_smriprep(
    data_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data_set, "--for", "smriprep", "--model", "lod-brain-2024", "--labels", "tissue") == 2
    assert "gives no CSF" in capsys.readouterr().err


def test_a_filter_chooses(data_set: Path, asked: list, tmp_path: Path) -> None:
    (tmp_path / "filter.json").write_text('{"t1w": {"session": null}}')
    assert run(data_set, "--bids-filter-file", tmp_path / "filter.json") == 0
    assert asked[0][0] == ["sub-02_seg-lodbrain_desc-T1w"]


def test_two_files_of_one_scan_are_wrong_usage_before_any_work(
    data_set: Path, asked: list, capsys: pytest.CaptureFixture[str]
) -> None:
    (data_set / "sub-02" / "anat" / "sub-02_T1w.nii").write_bytes(b"scan")
    assert run(data_set) == 2
    assert "the same names as those of" in capsys.readouterr().err
    assert asked == []


def test_results_among_the_scans_or_of_others_are_wrong_usage(
    data_set: Path, asked: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bids", str(data_set), str(data_set), "participant"]) == 2
    assert "the results would lie among the scans" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    theirs = tmp_path / "out" / "dataset_description.json"
    theirs.write_text(json.dumps({"GeneratedBy": [{"Name": "fMRIPrep"}]}))
    before = theirs.read_bytes()
    assert run(data_set) == 2
    assert "this folder holds results of fMRIPrep" in capsys.readouterr().err
    assert theirs.read_bytes() == before
    assert asked == []


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--participant-label", "../../x"], 2, "no label of BIDS"),
        (["--participant-label", "99"], 4, ""),
        (["--session-id", "9"], 4, "no T1w-like scan of this dataset is selected"),
        (["--threads", "0"], 2, "threads must be at least 1"),
        (["--bids-filter-file", "gone.json"], 2, "gone.json: it cannot be read"),
    ],
)
def test_wrong_wishes_have_their_status(
    words: list[str], status: int, said: str, data_set: Path, asked: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data_set, *words) == status
    assert said in capsys.readouterr().err


def test_a_data_set_that_is_not_there_is_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "gone") == 4
    assert capsys.readouterr().err.count("\n") == 1


def test_an_own_description_is_renewed_and_a_readme_kept(data_set: Path, asked: list, tmp_path: Path) -> None:
    assert run(data_set) == 0
    description = tmp_path / "out" / "dataset_description.json"
    first = json.loads(description.read_text())
    assert (first["DatasetType"], first["SourceDatasets"]) == ("derivative", [{"URL": "../raw"}])
    (tmp_path / "out" / "README.md").write_text("mine")
    (data_set / "dataset_description.json").write_text('{"Name": "N", "DatasetDOI": "doi:10.1/x"}')
    assert run(data_set) == 0
    second = json.loads(description.read_text())
    assert second["SourceDatasets"] == [{"URL": "https://doi.org/10.1/x"}]
    assert (tmp_path / "out" / "README.md").read_text() == "mine"


def test_the_container_is_recorded(
    data_set: Path, asked: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LODBRAIN_CONTAINER", "docker lodbrain:0.1")
    assert run(data_set) == 0
    made_by = json.loads((tmp_path / "out" / "dataset_description.json").read_text())["GeneratedBy"]
    assert made_by[0]["Container"] == {"Type": "docker", "Tag": "lodbrain:0.1"}


def test_group_without_results_is_4(data_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data_set.parent / "out").mkdir()
    assert run(data_set, level="group") == 4
    assert "no finished segmentations" in capsys.readouterr().err
    assert Outputs(data_set.parent / "out", "x").existing() == []


@pytest.mark.parametrize(("words", "pages"), [([], ""), (["--report"], ", and {out}/index.html")])
def test_a_dry_run_of_the_group_says_what_it_would_write(
    words: list[str], pages: str, data_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(data_set, "--dry-run", *words, level="group") == 0
    assert capsys.readouterr().out == (
        f"would write {out}/group_volumes.tsv and {out}/group_quality.tsv{pages.format(out=out)}\n"
    )
    assert not out.exists()
