import math

import pytest

from lodbrain.labels import STRUCTURES
from lodbrain.report.volume_rows import STRIP_SD, VolumeRow, in_words, volume_rows
from lodbrain.segmentation.usual_volumes import USUAL_SD, references

BRAIN_MM3 = 1.2e6


def usual(name: str, z: float) -> float:
    row = references()[name]
    return math.exp(row.mean_log + z * row.sd_log) * BRAIN_MM3


def rows(**z: float) -> dict[str, VolumeRow]:
    volumes = {name.replace("_", "-"): usual(name.replace("_", "-"), value) for name, value in z.items()}
    return {row.name: row for row in volume_rows({**volumes, "TIV": 1.5e6, "brain": BRAIN_MM3}, STRUCTURES)}


def test_both_sides_share_a_row_left_first_and_sums_come_last() -> None:
    found = rows(Right_Putamen=0, Brain_Stem=0, Left_Putamen=1)
    assert list(found) == ["Putamen", "Brainstem", "Intracranial volume (TIV)", "Brain, all but CSF"]
    assert [value.side for value in found["Putamen"].values] == ["left", "right"]
    assert found["Putamen"].color == "#ec0db0" and found["Brain, all but CSF"].color == ""


@pytest.mark.parametrize(
    ("z", "verdict", "place"),
    [(0.0, "", 0.5), (2.1, "", 0.7625), (2.2, "high", 0.775), (-2.2, "low", 0.225), (-9, "low", 0.0), (9, "high", 1.0)],
)
def test_a_volume_is_judged_by_its_distance_from_what_is_usual(z: float, verdict: str, place: float) -> None:
    (value,) = rows(Left_Putamen=z)["Putamen"].values
    assert value.z == pytest.approx(z)
    assert (value.verdict, value.place) == (verdict, pytest.approx(place))
    assert value.usual_ml == pytest.approx(
        (usual("Left-Putamen", -USUAL_SD) / 1e3, usual("Left-Putamen", USUAL_SD) / 1e3)
    )


def test_nothing_at_all_is_low_and_shown_at_the_end() -> None:
    (row,) = (
        row for row in volume_rows({"Left-Putamen": 0.0, "brain": BRAIN_MM3}, STRUCTURES) if row.name == "Putamen"
    )
    assert (row.values[0].verdict, row.values[0].place) == ("low", 0.0)


def test_what_nothing_is_known_of_has_no_verdict() -> None:
    (row,) = volume_rows({"Lesion": 5.0}, STRUCTURES)
    assert (row.values[0].z, row.values[0].place, row.values[0].verdict) == (None, None, "")
    (row,) = volume_rows({"Left-Putamen": 5000.0}, STRUCTURES)  # no brain to compare it with
    assert row.values[0].z is None


def test_the_band_of_the_style_is_the_usual_range() -> None:
    from importlib import resources

    style = resources.files("lodbrain").joinpath("resources", "report", "style.css").read_text()
    edge = 100 * (STRIP_SD - USUAL_SD) / (2 * STRIP_SD)
    assert f".band {{ position: absolute; top: 0; bottom: 0; left: {edge:.1f}%; right: {edge:.1f}%" in style


def test_short_names_are_written_out() -> None:
    assert in_words("Right-VentralDC") == "Right ventral diencephalon"
    assert in_words("Left-Inf-Lat-Vent") == "Left inferior lateral ventricle"
    assert in_words("CSF") == "CSF"
