"""The regions that are scored."""

from lodbrain.evaluation.regions import BRAIN_ATOM, LEVELS, PAIRED, REGIONS, TISSUE_ATOMS, UNSIDED
from lodbrain.labels import STRUCTURES, TISSUES


def test_every_structure_is_a_region_of_its_own() -> None:
    single = [region for region in REGIONS if region.level == "structure" and region.name != "CSF-FreeSurfer"]
    assert [next(iter(region.atoms)) for region in single] == list(range(1, len(STRUCTURES)))
    assert {region.side for region in single} == {"left", "right", "midline"}


def test_both_sides_and_what_has_none_are_one_merged_region() -> None:
    merged = {region.name: region for region in REGIONS if region.level == "merged"}
    assert set(merged) == set(PAIRED)
    assert len(merged["Thalamus"].atoms) == 3
    assert UNSIDED["Thalamus"] in merged["Thalamus"].atoms


def test_tissues_hold_the_structures_of_the_label_table() -> None:
    for region in REGIONS:
        if region.level == "tissue":
            tissue = next(label for label in TISSUES if label.name == region.name)
            inside = {place for place in region.atoms if place < len(STRUCTURES)}
            assert inside == {place for place, label in enumerate(STRUCTURES) if label.tissue == tissue.index}
            assert TISSUE_ATOMS[tissue.index] in region.atoms


def test_the_brain_is_all_tissues_and_no_csf() -> None:
    (brain,) = [region for region in REGIONS if region.level == "brain"]
    csf = next(place for place, label in enumerate(STRUCTURES) if label.name == "CSF")
    assert csf not in brain.atoms
    assert brain.atoms == frozenset({BRAIN_ATOM}).union(*(r.atoms for r in REGIONS if r.level == "tissue"))


def test_regions_come_level_by_level() -> None:
    order = [LEVELS.index(region.level) for region in REGIONS]
    assert order == sorted(order)
    assert len({(region.level, region.name, region.side) for region in REGIONS}) == len(REGIONS)
