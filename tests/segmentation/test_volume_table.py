import numpy as np
import pytest

from lodbrain.labels import CLASS_OF_INDEX, STRUCTURES, TABLES, Scheme
from lodbrain.segmentation.volume_table import (
    Volume,
    index_of_class,
    volumes,
    volumes_tsv,
)

N_STRUCTURES, N_TISSUES = 33, 7

# index: voxels
COUNTS = {2: 5, 3: 7, 41: 4, 42: 6, 24: 10, 17: 3, 16: 2, 14: 1, 10: 8, 7: 9}


def made_up_classes() -> np.ndarray:
    """(4, 4, 5) classes with `COUNTS`, the rest background."""
    flat = [CLASS_OF_INDEX[index] for index, count in COUNTS.items() for _ in range(count)]
    return np.array(flat + [0] * (80 - len(flat)), dtype=np.uint8).reshape(4, 4, 5)


def table(scheme: str, *, voxel_volume_mm3: float = 1.0, soft: np.ndarray | None = None) -> dict[str, Volume]:
    classes = made_up_classes()
    soft_vox = np.bincount(classes.ravel(), minlength=N_STRUCTURES) * 0.5 if soft is None else soft
    rows = volumes(
        classes,
        soft_vox,
        model_labels="structures",
        scheme=scheme,
        voxel_volume_mm3=voxel_volume_mm3,  # type: ignore[arg-type]
    )
    return {row.name: row for row in rows}


def test_structures_are_counted_in_mm3() -> None:
    rows = table("structures", voxel_volume_mm3=0.384)
    assert rows["Left-Cerebral-White-Matter"] == Volume(2, "Left-Cerebral-White-Matter", pytest.approx(5 * 0.384), pytest.approx(2.5 * 0.384))  # fmt: skip  # noqa: E501
    assert rows["CSF"].volume_mm3 == pytest.approx(10 * 0.384)
    assert rows["Right-Amygdala"].volume_mm3 == 0
    assert [row.index for row in rows.values()] == [label.index for label in STRUCTURES[1:]] + [None, None]


def test_tiv_is_all_structures_with_csf_and_brain_is_without() -> None:
    for scheme in ("structures", "tissue", "brain"):
        rows = table(scheme)
        assert rows["TIV"].volume_mm3 == sum(COUNTS.values()) == 55
        assert rows["brain"].volume_mm3 == 45
        assert (rows["TIV"].soft_volume_mm3, rows["brain"].soft_volume_mm3) == (27.5, 22.5)


def test_structures_merge_into_tissues_hard_and_soft() -> None:
    rows = table("tissue", voxel_volume_mm3=2.0)
    expected = {"Grey-Matter": 7 + 6 + 3, "Basal-Ganglia": 8, "White-Matter": 9, "Ventricles": 1, "Cerebellum": 9, "Brain-Stem": 2}  # fmt: skip  # noqa: E501
    assert {name: rows[name].volume_mm3 for name in expected} == {name: 2.0 * vox for name, vox in expected.items()}
    assert {name: rows[name].soft_volume_mm3 for name in expected} == {name: float(v) for name, v in expected.items()}


@pytest.mark.parametrize(
    ("model_labels", "scheme"),
    [*(("structures", scheme) for scheme in TABLES), ("tissue", "tissue"), ("tissue", "brain")],
)
def test_no_name_comes_twice(model_labels: Scheme, scheme: Scheme) -> None:
    soft = np.ones(N_STRUCTURES if model_labels == "structures" else N_TISSUES)
    classes = np.ones((2, 2, 2), np.uint8)
    found = volumes(classes, soft, model_labels=model_labels, scheme=scheme, voxel_volume_mm3=1.0)
    names = [row.name.lower() for row in found]
    assert len(set(names)) == len(names)
    assert names.count("brain") == 1


def test_brain_mask_leaves_csf_out() -> None:
    assert table("brain")["brain"] == Volume(1, "brain", 45.0, 22.5)


def test_soft_volume_counts_shares_where_no_voxel_is_won() -> None:
    soft = np.zeros(N_STRUCTURES)
    soft[CLASS_OF_INDEX[54]] = 0.25
    row = table("structures", voxel_volume_mm3=0.5, soft=soft)["Right-Amygdala"]
    assert (row.volume_mm3, row.soft_volume_mm3) == (0.0, 0.125)


def test_tissue_model_has_brain_but_no_tiv() -> None:
    classes = np.array([[[0, 1, 2, 3, 4, 5, 6, 6]]], dtype=np.uint8)
    rows = volumes(classes, np.arange(7.0), model_labels="tissue", scheme="tissue", voxel_volume_mm3=3.0)
    assert [(row.name, row.volume_mm3) for row in rows[-2:]] == [("Brain-Stem", 6.0), ("brain", 21.0)]
    assert rows[-1].soft_volume_mm3 == 63.0
    assert "TIV" not in {row.name for row in rows}


def test_tissue_model_cannot_give_structures() -> None:
    with pytest.raises(ValueError, match="scheme must be tissue or brain for a model of tissue classes, got 'struc"):
        index_of_class("tissue", "structures")


def test_posteriors_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="must have 33 values, got 7"):
        table("structures", soft=np.zeros(N_TISSUES))


def test_tsv_writes_na_for_rows_without_index() -> None:
    rows = [
        Volume(2, "Left-Cerebral-White-Matter", 1.23456, 2.0, 1.5, 3.0),
        Volume(None, "TIV", 10.0, 11.5, note="cut"),
    ]
    assert volumes_tsv(rows) == (
        "index\tname\tvolume_mm3\tsoft_volume_mm3\tlow_mm3\thigh_mm3\tnote\n"
        "2\tLeft-Cerebral-White-Matter\t1.235\t2.000\t1.500\t3.000\tn/a\n"
        "n/a\tTIV\t10.000\t11.500\tn/a\tn/a\tcut\n"
    )
