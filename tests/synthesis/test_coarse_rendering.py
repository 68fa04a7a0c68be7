"""A scan rendered at a coarse level against the same scan rendered in full and pooled, as inference sees it."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F

from lodbrain.inference.pyramid import pool
from lodbrain.labels import CLASS_OF_INDEX
from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid, RandomField
from lodbrain.synthesis.generator import ScanPlan, render
from lodbrain.synthesis.intensities import N_SUBCLASSES, T1W_PRIOR, Contrast
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.synthesis.steps.background_noise import Background
from lodbrain.synthesis.steps.blur import Blur
from lodbrain.synthesis.steps.defacing import Defacing
from lodbrain.synthesis.steps.ghosts import Ghosts
from lodbrain.synthesis.steps.lesions import Lesions
from lodbrain.synthesis.steps.motion import Motion, Move
from lodbrain.synthesis.steps.noise import Noise
from lodbrain.synthesis.steps.receive import Bias
from lodbrain.synthesis.steps.skull_stripping import Bite, Stripping
from lodbrain.synthesis.steps.susceptibility import DropOut, Susceptibility
from lodbrain.synthesis.steps.texture import Texture
from lodbrain.synthesis.steps.thick_slices import Slices
from lodbrain.synthesis.steps.tone import Tone
from lodbrain.synthesis.steps.transmit import Bump, Transmit
from lodbrain.synthesis.steps.ventricles import Ventricles
from lodbrain.synthesis.steps.wrap import Wrap

#: Voxels of 2 mm take the part of those of 1 mm here: rendered at 4 and 8 mm, the head is as small to the voxels.
SCAN = Grid((72, 80, 64), (2.0, 2.0, 2.0), (-72.0, -80.0, -64.0))
WHITE = 160.0

#: Means agree to 1% of white matter.
MEAN_TOLERANCE = 0.01 * WHITE
#: Standard deviations agree to 5%. A coarse image samples eight points in each voxel where the scan has 64 or 512: in
#: the brain that adds up to 4%.
SD_TOLERANCE = 0.05
#: Motion interpolates the head linearly between voxels, which smooths a coarse one more: less of its ringing is left.
SD_TOLERANCE_OF = {"motion": 0.08}

MOVES = (
    Move(0.45, (2.0, 1.0, 0.0), (0.0, 0.0, 3.0)),
    Move(0.52, (0.0, 3.0, 0.0), (2.0, 0.0, 0.0)),
    Move(0.7, (0.0, 3.0, 3.0), (0.0, 0.0, 0.0)),
)
MEANS = T1W_PRIOR[:, :1].repeat(1, N_SUBCLASSES)
UNEVEN = RandomField(8, 15.0)

#: What a case changes in a plan without steps.
CASES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "turned": {"deformation": Deformation((0.0, 0.0, 0.0), rotation_deg=(8.0, -5.0, 10.0))},
    "grain": {"contrast": Contrast(MEANS, torch.where(MEANS > 0, 14.0, 0.0), "t1w")},
    "blurred grain": {"contrast": Contrast(MEANS, torch.where(MEANS > 0, 14.0, 0.0), "t1w"), "blur": Blur(1.5)},
    "lesions": {"lesions": Lesions(RandomField(5, 9.0), 0.05)},
    "narrow ventricles": {"ventricles": Ventricles(0.3)},
    "texture": {"texture": Texture(RandomField(5, 12.0), 0.08)},
    "transmit": {"transmit": Transmit((Bump((0.0, 0.0, 0.0), 40.0, 0.8), Bump((-40.0, 0.0, -30.0), 20.0, -1.0)))},
    "susceptibility": {
        "susceptibility": Susceptibility((DropOut((0.0, 46.0, -34.0), 20.0, 2.5),), RandomField(6, 16.0))
    },
    "bias": {"bias": Bias(RandomField(7, 40.0), 0.6)},
    "wrap": {"wrap": Wrap(1, 0.8), "scan": SCAN.crop((0, 16, 0), (72, 48, 64))},
    "blur": {"blur": Blur(1.5)},
    "thick slices": {"slices": Slices(2, 4.0)},
    "thicker slices": {"slices": Slices(2, 6.0)},
    "motion": {"motion": Motion(1, MOVES)},
    "ghosts": {"ghosts": Ghosts(1, 2, 0.2)},
    "Gaussian noise": {"noise": Noise(0.05)},
    "Rician noise": {"noise": Noise(0.05, rician=True)},
    "masked background": {"noise": Noise(0.05, rician=True), "background": Background("zero")},
    "noisy background": {"background": Background("rician", 0.05)},
    "MP2RAGE": {"background": Background("mp2rage", 1.0)},
    "dark gamma": {"tone": Tone(1.6)},
    "bright gamma": {"tone": Tone(0.6)},
    "clipping": {"tone": Tone(1.0, 0.95)},
    "dark gamma of Rician noise": {"noise": Noise(0.08, rician=True), "tone": Tone(1.6)},
    "bright gamma of Rician noise": {"noise": Noise(0.08, rician=True), "tone": Tone(0.6)},
    "bright gamma of Gaussian noise": {"noise": Noise(0.08), "tone": Tone(0.6)},
    "clipped Gaussian noise": {"noise": Noise(0.08), "tone": Tone(1.0, 0.95)},
    "clipped MP2RAGE": {"background": Background("mp2rage", 1.3), "tone": Tone(1.3, 0.95)},
    "stripping": {"stripping": Stripping(3.0, UNEVEN, 2.0, 10.0)},
    "tight stripping of noise": {"noise": Noise(0.08, rician=True), "stripping": Stripping(-0.5, UNEVEN, 2.0)},
    "bitten": {"stripping": Stripping(2.0, UNEVEN, 1.0, 0.0, (Bite((50.0, 0.0, 0.0), 25.0),))},
    "defacing": {"defacing": Defacing((0.0, 1.0, -0.5), 20.0)},
    "much": {
        "texture": Texture(RandomField(5, 12.0), 0.08),
        "bias": Bias(RandomField(7, 40.0), 0.4),
        "blur": Blur(1.0),
        "ghosts": Ghosts(1, 2, 0.1),
        "noise": Noise(0.06, rician=True),
        "background": Background("rician", 0.03),
        "tone": Tone(1.3, 1.0),
    },
}


class Bare(NamedTuple):
    """A plan without steps, and what of its scan is brain and what air: (X, Y, Z) float32 each."""

    plan: ScanPlan
    brain: torch.Tensor
    air: torch.Tensor


@pytest.fixture(scope="module")
def bare(head: LabelMap, plain_plan: Callable[[Grid, torch.Tensor], ScanPlan]) -> Bare:
    plan = plain_plan(SCAN, head.brain_box_mm.mean(0))
    image, target = render(plan, head)
    return Bare(plan, target[1:].sum(0), ((image == 0) & (target[0] == 1)).float())


def _pooled(volume: torch.Tensor, coarseness: int) -> torch.Tensor:
    while coarseness > 1:
        volume, coarseness = pool(volume), coarseness // 2
    return volume


def _regions(bare: Bare, scan: Grid, coarseness: int) -> dict[str, torch.Tensor]:
    """Bool masks of a scan's coarse voxels: more brain than not; air with a voxel of air around it."""
    start = [round((a - b) / v) for a, b, v in zip(scan.corner_mm, SCAN.corner_mm, SCAN.spacing_mm, strict=True)]
    window = tuple(slice(s, s + n) for s, n in zip(start, scan.shape, strict=True))
    air = _pooled(bare.air[window], coarseness)
    deep = -F.max_pool3d(-air[None, None], 3, 1, 1)[0, 0]
    return {"brain": _pooled(bare.brain[window], coarseness) > 0.5, "air": deep == 1}


@pytest.mark.parametrize("coarseness", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_coarse_image_has_mean_and_sd_of_the_pooled_scan(
    case: str, coarseness: int, bare: Bare, head: LabelMap
) -> None:
    changes = dict(CASES[case])
    if "deformation" in changes:
        changes["deformation"] = replace(changes["deformation"], origin_mm=bare.plan.deformation.origin_mm)
    plan = replace(bare.plan, **changes)
    scan, _ = render(plan, head)
    coarse, _ = render(plan, head, plan.scan.coarser(coarseness), coarseness=coarseness)
    pooled, tolerance = _pooled(scan, coarseness), SD_TOLERANCE_OF.get(case, SD_TOLERANCE)
    for name, region in _regions(bare, plan.scan, coarseness).items():
        there, here = pooled[region], coarse[region]
        assert len(here) > 300, name
        assert float(here.mean()) == pytest.approx(float(there.mean()), abs=MEAN_TOLERANCE), name
        assert float(here.std()) == pytest.approx(float(there.std()), rel=tolerance, abs=0.02), name


def test_every_step_of_a_plan_is_compared() -> None:
    steps = {field.name for field in fields(ScanPlan)} - {"seed", "scan", "parts"}
    assert {name for case in CASES.values() for name in case} >= steps


@pytest.mark.parametrize("coarseness", [2, 4])
def test_coarse_target_of_a_stripped_brain_is_the_pooled_one(coarseness: int, bare: Bare, head: LabelMap) -> None:
    plan = replace(bare.plan, **CASES["bitten"])
    _, fine = render(plan, head)
    _, coarse = render(plan, head, SCAN.coarser(coarseness), coarseness=coarseness)
    torch.testing.assert_close(coarse.sum(0), torch.ones(coarse.shape[1:]), atol=1e-5, rtol=0)
    pooled = F.avg_pool3d(fine, coarseness)
    assert float((coarse - pooled).abs().mean()) < 0.001
    cortex = CLASS_OF_INDEX[42]
    assert float(coarse[cortex].sum()) == pytest.approx(float(pooled[cortex].sum()), rel=0.02)
    _, whole = render(bare.plan, head)
    assert float(coarse[cortex].sum()) * coarseness**3 < 0.95 * float(whole[cortex].sum())  # some of it was lost
