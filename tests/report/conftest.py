"""Results as the command leaves them: a small head, segmented by the default model."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lodbrain.images import Image, write_nifti
from lodbrain.report.sidecars import ScanResults, read_results
from lodbrain.segmentation.file_segmentation import segment_file
from lodbrain.segmentation.settings import Settings


@pytest.fixture(scope="session")
def segmented(
    template_4mm: tuple[NDArray[np.float32], NDArray[np.float64]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with head.nii.gz, a head of 4 mm, and its segmentation; not to be written to."""
    folder = tmp_path_factory.mktemp("segmented")
    data, affine = template_4mm
    write_nifti(folder / "head.nii.gz", data, Image(data, affine))
    segment_file(folder / "head.nii.gz", folder, Settings(device="cpu"))
    return folder


@pytest.fixture
def head(segmented: Path) -> ScanResults:
    return read_results(segmented / "head_dseg.json")


@pytest.fixture
def make_results(tmp_path: Path) -> Callable[..., ScanResults]:
    """Write a sidecar and a table of volumes, as much as a group page needs."""

    def make(stem: str, volumes_mm3: dict[str, float], folder: Path = tmp_path, **content: object) -> ScanResults:
        folder.mkdir(parents=True, exist_ok=True)
        sidecar = folder / f"{stem}_dseg.json"
        sidecar.write_text(json.dumps({"software": "lodbrain", "input": {"name": f"{stem}.nii.gz"}, **content}))
        lines = ["index\tname\tvolume_mm3\tsoft_volume_mm3"]
        lines += [f"n/a\t{name}\t{value}\t{value}" for name, value in volumes_mm3.items()]
        (folder / f"{stem}_volumes.tsv").write_text("\n".join(lines) + "\n")
        return read_results(sidecar)

    return make
