import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lodbrain.errors import InputError, OutputError
from lodbrain.labels import STRUCTURES, TISSUES
from lodbrain.segmentation.outputs import Outputs, check_not_an_input, check_writable, identities, labels_tsv
from lodbrain.system.hashing import sha256


def test_names_are_the_stem_with_the_suffixes_of_the_contract(tmp_path: Path) -> None:
    names = [path.name for path in Outputs(tmp_path, "s").all]
    assert names == [
        "s_dseg.nii.gz",
        "s_dseg.mgz",
        "s_dseg.dcm",
        "s_dseg.tsv",
        "s_volumes.tsv",
        "s_probseg.nii.gz",
        "s_probseg.mgz",
        "s_probseg.json",
        "s_differ.nii.gz",
        "s_report.html",
        "s_dseg.json",
    ]


def test_maps_of_tissues_belong_to_the_set_if_they_have_names(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, "s_desc-T1w", tissue_stem="s")
    images = [
        "s_desc-brain_mask.nii.gz",
        "s_dseg.nii.gz",
        *(f"s_label-{t}_probseg.nii.gz" for t in ("GM", "WM", "CSF")),
    ]
    assert [path.name for path in outputs.wanted] == ["s_desc-T1w_dseg.nii.gz", *images]
    names = [path.name for path in outputs.all]
    assert set(images) < set(names)
    assert {name.replace(".nii.gz", ".json") for name in images} | {"s_dseg.tsv"} < set(names)
    assert len(set(names)) == len(names)
    assert names[-1] == "s_desc-T1w_dseg.json"
    assert len(Outputs(tmp_path, "s_desc-T1w").wanted) == 1


def make(outputs: Outputs, work: Path, names: list[str], content: str) -> None:
    for path in outputs.all:
        if path.name in names:
            outputs.staged(work, path).write_text(content)


def test_publish_puts_new_files_in_place_and_removes_those_of_an_earlier_run(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, "s")
    for content, names in (("old", [path.name for path in outputs.all]), ("new", ["s_dseg.nii.gz", "s_dseg.json"])):
        with outputs.claimed() as work:
            make(outputs, work, names, content)
            outputs.publish(work)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "s_dseg.nii.gz": "new",
        "s_dseg.json": "new",
    }


def test_nothing_is_left_of_a_claim_that_fails(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, "s")
    with pytest.raises(RuntimeError), outputs.claimed() as work:
        make(outputs, work, ["s_dseg.nii.gz"], "half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_swept_by_the_next(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, "s")
    (tmp_path / ".s.lodbrain").mkdir()
    (tmp_path / ".s.lodbrain" / "lock").touch()
    (tmp_path / ".s.lodbrain" / "probseg.nii.gz").write_text("half")
    with outputs.claimed() as work:
        make(outputs, work, ["s_dseg.json"], "{}")
        outputs.publish(work)
    assert [path.name for path in tmp_path.iterdir()] == ["s_dseg.json"]


def test_only_one_process_writes_a_set(tmp_path: Path) -> None:
    code = f"""
        from pathlib import Path
        from lodbrain.segmentation.outputs import Outputs
        with Outputs(Path({str(tmp_path)!r}), "s").claimed():
            print("mine", flush=True)
            input()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "mine\n"
        with pytest.raises(InputError, match="another process is writing") as caught, Outputs(tmp_path, "s").claimed():
            pass
        assert caught.value.code == "busy"
        with Outputs(tmp_path, "t").claimed():  # another scan is free
            pass
        other.kill()
    with Outputs(tmp_path, "s").claimed():  # and so is this one, once its owner is dead
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_set_is_complete_if_it_was_made_from_the_same_and_all_its_files_are_whole(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, "s")
    assert not outputs.is_complete({"model": 1})
    outputs.labels.write_text("12345")
    outputs.sidecar.write_text(json.dumps({"model": 1, "more": 2, "files": {"s_dseg.nii.gz": 5}}))
    assert outputs.is_complete({"model": 1})
    for otherwise in ({"model": 2}, {"model": 1, "settings": {}}):
        with pytest.raises(InputError, match="other settings or another scan"):
            outputs.is_complete(otherwise)
    outputs.labels.write_text("123")
    assert not outputs.is_complete({"model": 1})
    outputs.labels.unlink()
    assert not outputs.is_complete({"model": 1})


@pytest.mark.parametrize("content", [b"", b"[]", b'{"model": 1}', b'{"files": 3, "model": 1}', b"\xff\xfe{"])
def test_a_broken_sidecar_is_no_complete_set(content: bytes, tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, "s")
    outputs.sidecar.write_bytes(content)
    assert not outputs.is_complete({"model": 1})


def test_names_too_long_for_a_file_system_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too long"), Outputs(tmp_path, "ü" * 121).claimed():
        pass
    with Outputs(tmp_path, "ü" * 120).claimed():
        pass


def test_output_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OutputError, match="the output folder is a file"):
            check_writable(folder)


def test_an_input_is_never_an_output_be_it_through_a_link(tmp_path: Path) -> None:
    scan = tmp_path / "s.nii.gz"
    scan.touch()
    outputs = Outputs(tmp_path, "s")
    check_not_an_input(outputs, identities([scan]))
    outputs.labels.symlink_to(scan)
    with pytest.raises(InputError, match="would be overwritten"):
        check_not_an_input(outputs, identities([scan]))


def test_labels_tsv_has_every_label_but_background_with_its_colour() -> None:
    lines = labels_tsv(STRUCTURES).splitlines()
    assert lines[:3] == [
        "index\tname\tcolor",
        "2\tLeft-Cerebral-White-Matter\t#f5f5f5",
        "3\tLeft-Cerebral-Cortex\t#cd3e4e",
    ]
    assert len(lines) == 33
    assert labels_tsv(TISSUES).splitlines()[6] == "6\tBrain-Stem\t#779fb0"


def test_sha256_covers_both_files_of_a_pair(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(b"a")
    (tmp_path / "a.img").write_bytes(b"bc")
    (tmp_path / "a.nii").write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert {sha256(tmp_path / name) for name in ("a.hdr", "a.img", "a.nii")} == {abc}
