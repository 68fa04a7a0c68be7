import copy
import json
from dataclasses import replace

import pytest
import torch

from lodbrain.synthesis.generator import GeneratorSettings, draw_plan, render
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.synthesis.recipe import from_json, to_json
from lodbrain.synthesis.steps.fov import RandomFieldOfView
from lodbrain.synthesis.steps.ghosts import RandomGhosts
from lodbrain.synthesis.steps.lesions import RandomLesions
from lodbrain.synthesis.steps.motion import RandomMotion
from lodbrain.synthesis.steps.skull_stripping import RandomStripping
from lodbrain.synthesis.steps.thick_slices import RandomSlices
from lodbrain.synthesis.steps.ventricles import RandomVentricles
from lodbrain.synthesis.steps.wrap import RandomWrap

SETTINGS = GeneratorSettings(
    field_of_view=RandomFieldOfView(voxel_mm=(5.0, 6.0)),
    uhf_share=1.0,
    lesions=RandomLesions(1.0),
    ventricles=RandomVentricles(1.0),
    motion=RandomMotion(1.0),
    ghosts=RandomGhosts(1.0),
    slices=RandomSlices(1.0, 20.0),
)
EVERYTHING = replace(SETTINGS, wrap=RandomWrap(1.0), stripping=RandomStripping(0.0))
STRIPPED = replace(SETTINGS, stripping=RandomStripping(1.0, 1.0))


@pytest.mark.parametrize("settings", [EVERYTHING, STRIPPED], ids=["everything", "stripped"])
def test_replayed_recipe_gives_the_same_pair(settings: GeneratorSettings, head: LabelMap) -> None:
    plan = draw_plan(head, settings, torch.Generator().manual_seed(4))
    again = from_json(json.loads(json.dumps(to_json(plan))))
    assert to_json(again) == to_json(plan)
    for one, two in zip(render(plan, head), render(again, head), strict=True):
        assert torch.equal(one, two)


def test_recipe_is_small_and_readable(head: LabelMap) -> None:
    tree = to_json(draw_plan(head, EVERYTHING, torch.Generator().manual_seed(4)))
    assert len(json.dumps(tree)) < 12_000
    assert tree["contrast"]["means"]["0"] == [0.0]
    assert len(tree["contrast"]["means"]["516"]) == 4  # a tissue of several parts
    assert set(tree["blur"]) == {"fwhm_vox"}


def test_what_is_not_understood_is_named(head: LabelMap) -> None:
    tree = to_json(draw_plan(head, EVERYTHING, torch.Generator().manual_seed(4)))
    newer = copy.deepcopy(tree)
    newer["blur"]["shape"] = "airy"
    with pytest.raises(ValueError, match=r"plan\.blur\.shape is not understood"):
        from_json(newer)
    broken = copy.deepcopy(tree)
    broken["noise"]["level"] = "much"
    with pytest.raises(ValueError, match=r"noise\.level: .*number"):
        from_json(broken)
    del tree["contrast"]["means"]["17"]
    with pytest.raises(ValueError, match="one row for each label"):
        from_json(tree)
    with pytest.raises(ValueError, match=r"plan: "):
        from_json([1, 2])
