"""The same scan gives the same labels, however it comes and wherever it is computed.

Orientations: tests/inference/test_orientations.py (48, identical). Tiles: here and in tests/inference/test_ladder.py.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tiny_model
import torch
from safetensors.numpy import load_file
from sameness import FOLDER, answer
from trust_cases import Bench

import lodbrain
from lodbrain.commands import main
from lodbrain.images import read_labels
from lodbrain.inference.prediction import Options

FLOAT32 = Options(dtype="float32")


@pytest.fixture(scope="module")
def expected(tiny_model_file: Path) -> np.ndarray:
    return lodbrain.segment(
        tiny_model.head(), affine=tiny_model.AFFINE, model=str(tiny_model_file), device="cpu"
    ).labels


def test_file_and_array_and_mgz_give_identical_labels(bench: Bench, expected: np.ndarray) -> None:
    mgz = bench.mgh("scan.mgz", bench.voxels(np.float32), bench.affine)
    assert gzip.decompress(mgz.read_bytes())[:4] == b"\0\0\0\1"
    for scan in (bench.nifti("scan.nii"), bench.nifti("scan.nii.gz"), mgz):
        labels = lodbrain.segment(scan, model=str(bench.model), device="cpu").labels
        np.testing.assert_array_equal(labels, expected)


def test_one_of_many_and_alone_give_identical_files(bench: Bench, expected: np.ndarray) -> None:
    for turn, name in enumerate("cab"):
        bench.nifti(f"{name}.nii.gz", tiny_model.head(seed=turn), bench.affine)
    words = ["--model", str(bench.model), "--device", "cpu", "-q"]
    assert main(["segment", str(bench.folder), "-o", str(bench.out), *words]) == 0
    assert main(["segment", str(bench.folder / "c.nii.gz"), "-o", str(bench.folder / "alone"), *words]) == 0
    for end in ("dseg.nii.gz", "dseg.tsv", "volumes.tsv"):
        assert (bench.out / f"c_{end}").read_bytes() == (bench.folder / "alone" / f"c_{end}").read_bytes()
    np.testing.assert_array_equal(read_labels(bench.out / "c_dseg.nii.gz").data, expected)


def test_a_reader_of_another_kind_sees_the_same_label_map(bench: Bench, expected: np.ndarray) -> None:
    assert main(["segment", str(bench.nifti("s.nii")), "-o", str(bench.out), "--model", str(bench.model), "-q"]) == 0
    image = nib.load(bench.out / "s_dseg.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
    np.testing.assert_allclose(image.affine, bench.affine, atol=1e-4)


def test_one_and_two_threads_agree() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(answer(FLOAT32)[0])
    finally:
        torch.set_num_threads(before)
    assert (found[0] != found[1]).mean() <= 1e-5


def test_tiles_and_no_tiles_agree() -> None:
    whole, tiled = answer(FLOAT32, voxel_mm=2.0)[0], answer(replace(FLOAT32, tile_voxels=33_000), voxel_mm=2.0)[0]
    assert len(np.unique(whole)) > 4
    assert (whole != tiled).mean() <= 1e-5


def test_stored_posteriors_come_back_whatever_the_version_of_torch() -> None:
    """Made with torch 2.13.0 in float32: labels within 1 in 1,000 voxels, posteriors within 0.002.

    Random weights make many ties, more than a trained network has.
    """
    stored = load_file(FOLDER / "answer.safetensors")
    labels, posteriors = answer(FLOAT32)
    assert (labels != stored["labels"]).mean() <= 1e-3
    assert np.abs(posteriors - stored["posteriors"].astype(np.float32)).max() <= 2e-3
    assert stored["posteriors"].max() > 0.4 and len(np.unique(stored["labels"])) > 4  # worth comparing
