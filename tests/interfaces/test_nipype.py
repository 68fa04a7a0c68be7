"""nipype nodes run the real command line."""

import json
import os
import sys
from pathlib import Path

import pytest
from tiny_model import AFFINE, head, save_tiny_model

from lodbrain.images import Image, read_image, read_labels, write_nifti

pytest.importorskip("nipype", reason="nipype is not installed (extra nipype)")

from lodbrain.interfaces.nipype import Segment, Strip


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scan, and `lodbrain` on the PATH."""
    command = tmp_path / "bin" / "lodbrain"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lodbrain "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "node").mkdir()
    monkeypatch.chdir(tmp_path / "node")
    data = head()
    write_nifti(tmp_path / "scan.nii.gz", data, Image(data, AFFINE))
    return tmp_path / "scan.nii.gz"


def test_segment_gives_the_files_of_the_command(scan: Path, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "tiny.safetensors")
    node = Segment(in_file=str(scan), model=str(model), labels="tissue", posteriors=True, num_threads=2)
    assert node.cmdline == (
        f"lodbrain segment {scan} --labels tissue --model {model} --threads 2 --out . --posteriors --overwrite --quiet"
    )
    (tmp_path / "node" / "scan_dseg.nii.gz").write_bytes(b"of an earlier run")
    outputs = node.run().outputs
    assert read_labels(outputs.labels).shape == read_image(scan).shape
    assert Path(outputs.labels).parent == tmp_path / "node"
    assert json.loads(Path(outputs.sidecar).read_text())["settings"]["labels"] == "tissue"
    assert Path(outputs.volumes).read_text().startswith("index\tname")
    assert Path(outputs.table).name == "scan_dseg.tsv"
    assert read_image(outputs.posteriors, frame=6).shape == read_image(scan).shape


def test_posteriors_that_were_not_asked_for_are_no_output(scan: Path) -> None:
    from nipype.interfaces.base import isdefined

    assert not isdefined(Segment(in_file=str(scan))._list_outputs()["posteriors"])
    assert isdefined(Segment(in_file=str(scan), posteriors=True)._list_outputs()["posteriors"])


def test_strip_names_brain_and_mask_after_the_scan(scan: Path, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "tiny.safetensors")
    outputs = Strip(in_file=str(scan), model=str(model), border=-1.5, no_csf=True).run().outputs
    assert Path(outputs.out_file) == tmp_path / "node" / "scan_brain.nii.gz"
    assert Path(outputs.mask_file) == tmp_path / "node" / "scan_mask.nii.gz"
    made = json.loads((tmp_path / "node" / "scan_mask.json").read_text())
    assert (made["settings"]["border_mm"], made["settings"]["csf"]) == (-1.5, False)


def test_a_scan_that_is_refused_is_an_error_with_the_line_of_the_command(tmp_path: Path, scan: Path) -> None:
    scan.write_bytes(b"no scan")
    with pytest.raises(RuntimeError, match=r"scan\.nii\.gz: "):
        Strip(in_file=str(scan)).run()
