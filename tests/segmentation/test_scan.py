import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lodbrain
from lodbrain.errors import InputError, UsageError
from lodbrain.images.image import Image
from lodbrain.images.shear import straighten
from lodbrain.inference.prediction import Prediction
from lodbrain.labels import BRAIN, STRUCTURES, TISSUES, relabel

#: 0.5 x 0.8 x 1.2 mm, the columns of `OBLIQUE`
VOXEL_MM3 = 0.48
_C, _S = np.cos(0.3), np.sin(0.3)
OBLIQUE = np.array([[0, 0.8 * _C, 1.2 * _S, -10], [0, 0.8 * _S, -1.2 * _C, 20], [0.5, 0, 0, 5], [0, 0, 0, 1.0]])


def test_labels_lie_on_the_grid_of_an_oblique_array(fake_model: Any, classes: np.ndarray) -> None:
    result = lodbrain.segment(classes, affine=OBLIQUE)
    assert result.labels.dtype == np.uint8
    np.testing.assert_array_equal(result.labels, relabel(classes.astype(int)))
    np.testing.assert_array_equal(result.affine, OBLIQUE)
    assert result.table is STRUCTURES


def test_the_network_sees_ras_order(fake_model: Any, classes: np.ndarray) -> None:
    lodbrain.segment(classes, affine=OBLIQUE)
    seen = fake_model.calls[0]
    np.testing.assert_allclose(seen.spacing_mm, [0.8, 1.2, 0.5])
    np.testing.assert_array_equal(seen.data, classes.transpose(1, 2, 0)[:, ::-1])


def test_volumes_come_from_the_determinant_of_the_affine(fake_model: Any, classes: np.ndarray) -> None:
    volumes = {row.name: row for row in lodbrain.segment(classes, affine=OBLIQUE).volumes}
    for position, label in enumerate(STRUCTURES[1:], start=1):
        voxels = np.count_nonzero(classes == position)
        assert volumes[label.name].volume_mm3 == pytest.approx(voxels * VOXEL_MM3)
        assert volumes[label.name].soft_volume_mm3 == pytest.approx(0.75 * voxels * VOXEL_MM3)
    assert volumes["TIV"].volume_mm3 == pytest.approx(np.count_nonzero(classes) * VOXEL_MM3)
    csf = volumes["CSF"].volume_mm3
    assert csf > 0
    assert volumes["brain"].volume_mm3 == pytest.approx(volumes["TIV"].volume_mm3 - csf)


@pytest.mark.parametrize(("labels", "table"), [("structures", STRUCTURES), ("tissue", TISSUES), ("brain", BRAIN)])
def test_posteriors_have_one_volume_a_label_and_add_up_to_one(
    labels: Any, table: Any, fake_model: Any, classes: np.ndarray
) -> None:
    result = lodbrain.segment(classes, affine=OBLIQUE, labels=labels, posteriors=True)
    assert result.posteriors is not None
    assert result.posteriors.shape == (*classes.shape, len(table))
    np.testing.assert_allclose(result.posteriors.sum(axis=-1), 1)
    indices = np.array([label.index for label in table])
    inside = result.labels > 0
    column = np.searchsorted(indices, result.labels[inside])
    np.testing.assert_array_equal(result.posteriors[inside, column], 0.75)


@pytest.mark.parametrize("labels", ["tissue", "brain"])
def test_structures_merge_into_coarser_labels(labels: Any, fake_model: Any, classes: np.ndarray) -> None:
    result = lodbrain.segment(classes, affine=OBLIQUE, labels=labels)
    np.testing.assert_array_equal(result.labels, relabel(classes.astype(int), labels))


def test_tissue_model_gives_tissues_and_brain(fake_model: Any, classes: np.ndarray) -> None:
    fake_model.labels = "tissue"
    tissues = (classes % 7).astype(np.float32)
    np.testing.assert_array_equal(lodbrain.segment(tissues, affine=OBLIQUE, labels="tissue").labels, tissues)
    np.testing.assert_array_equal(lodbrain.segment(tissues, affine=OBLIQUE, labels="brain").labels, tissues > 0)


def test_file_and_array_give_the_same(fake_model: Any, classes: np.ndarray, write_scan: Callable[[], Path]) -> None:
    of_file, of_array = lodbrain.segment(write_scan()), lodbrain.segment(classes, affine=OBLIQUE)
    np.testing.assert_array_equal(of_file.labels, of_array.labels)
    np.testing.assert_allclose(of_file.affine, OBLIQUE, atol=1e-5)


def test_notes_of_reading_and_of_inference_and_quality_are_handed_on(fake_model: Any, classes: np.ndarray) -> None:
    classes[0, 0, 0] = np.nan
    result = lodbrain.segment(classes, affine=OBLIQUE)
    assert any("NaN" in note for note in result.notes)
    assert "It was seen whole." in result.notes
    assert result.quality["certainty"] == 0.75
    assert result.quality["brain_ml"] > 0
    assert any("ml, outside of" in reason for reason in result.quality_reasons)


def test_memory_may_be_text_or_bytes_and_defaults_to_what_is_free(
    fake_model: Any, classes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lodbrain.segmentation.allowance.free_bytes", lambda device: 123)
    for memory in ("2GB", 5_000_000, None):
        lodbrain.segment(classes, affine=OBLIQUE, memory=memory, device="cpu")
    asked, given, free = (call.options for call in fake_model.calls)
    assert (asked.memory_bytes, given.memory_bytes) == (2 * 10**9, 5_000_000)
    assert free.memory_bytes == free.base_bytes + classes.nbytes + 123  # what it takes already, and what is free
    assert 10**7 < free.base_bytes < 10**10
    assert fake_model.calls[0].options.device == "cpu"


def test_threads_are_set_for_the_run_only(
    fake_model: Any, classes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    lodbrain.segment(classes, affine=OBLIQUE)
    assert chosen == []
    fake_model.error = InputError("x", None, "refused")
    with pytest.raises(InputError):
        lodbrain.segment(classes, affine=OBLIQUE, threads=1)
    assert chosen == [1, 3]


def test_progress_is_passed_on(fake_model: Any, classes: np.ndarray) -> None:
    heard: list[tuple[float, str]] = []
    lodbrain.segment(classes, affine=OBLIQUE, progress=lambda share, text: heard.append((share, text)))
    assert heard == [(0.5, "half")]


def test_nothing_found_is_an_error(fake_model: Any) -> None:
    faint = np.zeros((8, 8, 8))
    faint[4, 4, 4] = 0.5
    with pytest.raises(InputError, match="no brain was found"):
        lodbrain.segment(faint, affine=OBLIQUE)


def test_array_without_affine_says_why_one_is_needed(classes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="affine must be given with an array: it says which side is left"):
        lodbrain.segment(classes)


def test_file_with_affine_is_refused(write_scan: Callable[[], Path]) -> None:
    with pytest.raises(ValueError, match="affine must not be given for a file"):
        lodbrain.segment(write_scan(), affine=OBLIQUE)


def test_an_image_of_nibabel_gives_what_its_array_gives(fake_model: Any, classes: np.ndarray) -> None:
    import nibabel

    from_array = lodbrain.segment(classes, affine=OBLIQUE)
    result = lodbrain.segment(nibabel.Nifti1Image(classes, OBLIQUE))
    np.testing.assert_array_equal(result.labels, from_array.labels)
    np.testing.assert_allclose(result.affine, OBLIQUE)
    image = result.to_nibabel()
    np.testing.assert_array_equal(np.asarray(image.dataobj), from_array.labels)
    np.testing.assert_allclose(image.affine, OBLIQUE)


def test_a_spacing_stands_for_an_affine_in_ras_order(fake_model: Any, classes: np.ndarray) -> None:
    result = lodbrain.segment(classes, spacing_mm=(0.5, 0.8, 1.2))
    np.testing.assert_array_equal(result.affine, np.diag([0.5, 0.8, 1.2, 1.0]))
    np.testing.assert_array_equal(fake_model.calls[0].data, classes)


@pytest.mark.parametrize("scan", [None, b"scan.nii"])
def test_what_is_no_scan_is_refused_by_its_own_name(scan: object) -> None:
    with pytest.raises(ValueError, match="scan must be a path, an image of nibabel or an array, got"):
        lodbrain.segment(scan)


def test_affine_and_spacing_exclude_each_other(classes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="affine and spacing_mm exclude each other"):
        lodbrain.segment(classes, affine=OBLIQUE, spacing_mm=(1, 1, 1))


def test_a_budget_of_bytes_below_a_mebibyte_is_refused(classes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="memory must be at least 1 MiB, got '8'"):
        lodbrain.segment(classes, affine=OBLIQUE, memory=8)


@pytest.mark.parametrize("options", [{}, {"affine": OBLIQUE, "spacing_mm": (1, 1, 1)}, {"spacing_mm": (1, 1)}])
def test_an_array_needs_one_grid(options: Any, fake_model: Any, classes: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"affine|spacing_mm"):
        lodbrain.segment(classes, **options)


def test_an_image_of_nibabel_with_a_grid_of_its_own_takes_no_other(fake_model: Any, classes: np.ndarray) -> None:
    import nibabel

    with pytest.raises(ValueError, match="spacing_mm must not be given"):
        lodbrain.segment(nibabel.Nifti1Image(classes, OBLIQUE), spacing_mm=(1, 1, 1))


def test_volumes_are_a_data_frame_on_request(fake_model: Any, classes: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    result = lodbrain.segment(classes, affine=OBLIQUE)
    table = result.volumes_table()
    assert list(table.columns) == ["index", "name", "volume_mm3", "soft_volume_mm3", "low_mm3", "high_mm3", "note"]
    assert len(table) == len(result.volumes)
    assert table["index"].dtype == pandas.Int64Dtype() and table["index"].isna().sum() == 2
    row = table.set_index("name").loc["Left-Putamen"]
    assert (row["index"], row["volume_mm3"]) == (12, next(v.volume_mm3 for v in result.volumes if v.index == 12))


def test_labels_are_saved_on_their_grid(fake_model: Any, classes: np.ndarray, tmp_path: Path) -> None:
    from lodbrain.images.io import read_labels

    result = lodbrain.segment(classes, affine=OBLIQUE)
    result.save(tmp_path / "labels.nii.gz")
    saved = read_labels(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(saved.data, result.labels)
    np.testing.assert_allclose(saved.affine, OBLIQUE, atol=1e-6)


def _pieces(labels: np.ndarray) -> dict[str, int]:
    """Components of the structures that must have one, with more than one."""
    import cc3d

    from lodbrain.inference.postprocess import SEVERAL_PIECES

    single = [label for n, label in enumerate(STRUCTURES) if n and n not in SEVERAL_PIECES["structures"]]
    pieces = {row.name: int(cc3d.connected_components(labels == row.index, connectivity=26).max()) for row in single}
    return {name: n for name, n in pieces.items() if n > 1}


SHEAR = np.eye(4)
SHEAR[0, 1] = 0.3


@pytest.mark.parametrize("shear", [np.eye(4), SHEAR], ids=["right angles", "sheared"])
def test_structures_are_in_one_piece_on_the_grid_of_the_scan(
    shear: np.ndarray, template_4mm: tuple[np.ndarray, np.ndarray]
) -> None:
    data, affine = template_4mm
    result = lodbrain.segment(data, affine=affine @ shear)
    assert len(np.unique(result.labels)) == len(STRUCTURES)
    assert _pieces(result.labels) == {}
    raw = lodbrain.segment(data, affine=affine @ shear, postprocess=False)
    assert _pieces(raw.labels) != {}  # so that there was something to do
    # Soft volumes and posteriors are the network's own: labels that were moved do not change them.
    assert [row.soft_volume_mm3 for row in result.volumes] == [row.soft_volume_mm3 for row in raw.volumes]


def test_a_table_of_volumes_without_pandas_says_how_to_get_it(
    fake_model: Any, classes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    result = lodbrain.segment(classes, affine=OBLIQUE)
    with pytest.raises(UsageError, match=r"needs pandas, which is not installed\. .*pip install '\.\[evaluate\]'"):
        result.volumes_table()


def test_soft_volumes_of_a_sheared_scan_are_those_of_the_straight_one(
    template_4mm: tuple[np.ndarray, np.ndarray],
) -> None:
    data, affine = template_4mm
    strong = np.eye(4)
    strong[0, 1] = 0.5  # a straight voxel of the same sides has 1.12 times the volume
    thin = affine @ strong
    result = lodbrain.segment(data, affine=thin, posteriors=True, postprocess=False)
    assert result.posteriors is not None
    assert any("orthogonal axes" in note for note in result.notes)
    hard, soft = np.array([(row.volume_mm3, row.soft_volume_mm3) for row in result.volumes]).T
    sums = result.posteriors.sum((0, 1, 2), dtype=np.float64)[1:] * abs(np.linalg.det(thin[:3, :3]))
    # Interpolation moves little: what is summed on the straight grid is there on the sheared one as well.
    np.testing.assert_allclose(soft[:-2], sums, rtol=0.03, atol=100)
    # Counted and soft volumes of this coarse scan differ by 5%; without the factor they would by 15 and 9%.
    np.testing.assert_allclose(soft[-2:], hard[-2:], rtol=0.065)


def test_volume_and_variance_of_a_sheared_scan_grow_with_the_voxel() -> None:
    straight, way = straighten(Image(np.ones((8, 8, 8), np.float32), SHEAR))
    soft, variance = np.arange(33.0), np.arange(33.0) / 2
    prediction = Prediction(np.ones(straight.shape, np.uint8), soft, variance_vox=variance)
    found = prediction.sheared(way, 1.5)
    np.testing.assert_allclose(found.soft_volume_vox, 1.5 * soft)
    np.testing.assert_allclose(found.variance_vox, 1.5 * variance)
    assert found.classes.shape == (8, 8, 8)
    assert Prediction(prediction.classes, soft).sheared(way, 1.5).variance_vox is None
