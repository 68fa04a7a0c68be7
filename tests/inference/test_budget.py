import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lodbrain.errors import InputError
from lodbrain.inference.budget import LIBRARIES, MOST_TILE_BYTES, amount, check, make_plan
from lodbrain.inference.pyramid import WorkingGrid
from lodbrain.inference.workload import LevelSize, Work
from lodbrain.models.lod import Ladder, LevelConfig
from lodbrain.system.memory import parse_memory

COARSE, FINE = LevelSize(16, 33, 8, 4, 4), LevelSize(16, 20, 10, 2, 4)
GRID = WorkingGrid((160, 200, 160), (1.0, 1.0, 1.0), True)
WORK = Work(GRID, GRID, (COARSE, FINE))


def test_size_of_a_level_is_what_the_network_has() -> None:
    ladder = Ladder((LevelConfig(1, (4, 8, 8)), LevelConfig(0, (6, 8), sided=False)))
    work = Work.of(ladder, GRID, GRID, dtype=torch.bfloat16, posteriors=True)
    first, second = work.levels
    assert first == LevelSize(4, 33, ladder.level(0).radius, 4, 4)  # the coarsest is float32 whatever is asked
    assert second == LevelSize(6, 20, ladder.level(1).radius, 2, 2)
    assert work.posteriors == 33
    pooled = Work.of(ladder, GRID, GRID, dtype=torch.bfloat16, posteriors=True, pooling=(0, *[1] * 32))
    assert pooled.posteriors == 2
    coarse = WorkingGrid((80, 100, 80), (2.0, 2.0, 2.0), True)
    assert len(Work.of(ladder, coarse, coarse, dtype=torch.float32, posteriors=False).levels) == 1


def test_images_are_halved_upwards_and_the_largest_brain_is_in_the_middle() -> None:
    odd = WorkingGrid((161, 201, 90), (1.0, 1.0, 1.0), True)
    work = Work(odd, odd, (COARSE, COARSE, FINE))
    assert work.shapes == [(41, 51, 23), (81, 101, 45), (161, 201, 90)]
    assert work.voxels_mm == [4.0, 2.0, 1.0]
    assert work.largest_brain == ((0, 41), (0, 50), (0, 23))  # 200 mm; the other sides reach the edges


def test_a_large_budget_gives_tiles_of_the_most_that_one_may_take() -> None:
    plan = make_plan(WORK, room=math.inf)
    assert plan.tile_voxels == (0, int(MOST_TILE_BYTES / (3 * 16 * 4 + 16)))


def test_peak_stays_within_the_room_or_at_the_least_possible() -> None:
    plenty, least = make_plan(WORK, room=math.inf), make_plan(WORK, room=0)
    assert least.peak_bytes < plenty.peak_bytes
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        room = least.peak_bytes + share * (plenty.peak_bytes - least.peak_bytes)
        plan = make_plan(WORK, room=room)
        assert least.peak_bytes <= plan.peak_bytes <= room
        assert least.tile_voxels[1] <= plan.tile_voxels[1] <= plenty.tile_voxels[1]
    halo = 12
    assert least.tile_voxels == (0, (4 * halo) ** 3)


def test_stages_count_the_arrays_of_the_code() -> None:
    voxels = 160 * 200 * 160
    stages = make_plan(WORK, room=math.inf).stages
    assert stages["reading"] == 4 * voxels
    assert stages["preparing"] == 8 * voxels  # as read, and in RAS order
    assert stages["writing"] == 3 * voxels  # classes, certainty; the label map
    assert make_plan(replace(WORK, stored_bytes=8), room=0).stages["reading"] == 8 * voxels
    assert make_plan(replace(WORK, stored_bytes=2), room=0).stages["reading"] == 4 * voxels
    soft = make_plan(replace(WORK, posteriors=33), room=math.inf).stages
    assert soft["writing"] - stages["writing"] == 66 * voxels


def test_a_resampled_scan_keeps_logits_and_drops_its_voxels() -> None:
    scan = WorkingGrid((640, 800, 640), (0.25, 0.25, 0.25), True)
    stages = make_plan(Work(scan, replace(GRID, native=False), (COARSE, FINE)), room=math.inf).stages
    voxels = 640 * 800 * 640
    assert "interpolating" in stages
    assert 2 * voxels < stages["level 2"] < 2 * voxels + 2e9  # decisions, not the scan
    assert stages["tidying up"] == 2 * voxels + (4 + 5 * 64) * 160 * 200 * 160  # and the finest image


def test_bfloat16_takes_half_of_the_activations() -> None:
    half = replace(FINE, itemsize=2)
    assert half.tile_bytes == 3 * 16 * 2 + 16
    small = make_plan(replace(WORK, levels=(COARSE, half)), room=0)
    assert small.stages["level 2"] < make_plan(WORK, room=0).stages["level 2"]


def test_a_level_of_blocks_holds_an_eighth_of_its_channels_a_voxel() -> None:
    ladder = Ladder((LevelConfig(1, (4,)), LevelConfig(0, (32,), sided=False, block=2)))
    size = Work.of(ladder, GRID, GRID, dtype=torch.bfloat16, posteriors=False).levels[1]
    assert size == LevelSize(32, 20, ladder.level(1).radius, 2, 2, block=2)
    assert size.hole_bytes == 32 * 2 / 8
    assert size.tile_bytes == 3 * 32 * 2 / 8 + 16


def test_a_smaller_brain_needs_less() -> None:
    brain = ((20, 40), (20, 45), (20, 40))
    small, large = make_plan(WORK, room=0, brain=brain), make_plan(WORK, room=0)
    for stage in ("level 2", "tidying up"):
        assert small.stages[stage] < large.stages[stage]


def test_too_little_is_refused_with_what_is_needed_which_then_is_enough() -> None:
    base = 300 * 10**6
    with pytest.raises(InputError, match=r"needs at least \d+MB of memory, 400MB are allowed") as caught:
        check(WORK, allowed_bytes=4 * 10**8, base_bytes=base, path=Path("scan.nii.gz"))
    assert caught.value.code == "memory"
    assert str(caught.value.path) == "scan.nii.gz"
    needed = parse_memory(str(caught.value.hint).split()[2])
    plan = check(WORK, allowed_bytes=needed, base_bytes=base)
    assert LIBRARIES < plan.peak_bytes <= needed - base
    with pytest.raises(InputError):
        check(WORK, allowed_bytes=int(0.94 * needed), base_bytes=base)


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(1_200_000, "2MB"), (984_100_000, "985MB"), (999.1e6, "1.00GB"), (3.411e9, "3.42GB")]
)
def test_amounts_are_rounded_up(n_bytes: float, text: str) -> None:
    assert amount(n_bytes) == text
    assert parse_memory(text) >= n_bytes


def test_second_opinion_is_left_out_only_where_the_budget_has_no_room_for_it() -> None:
    both = replace(WORK, second=True)
    alone, most = make_plan(WORK, room=0).peak_bytes, make_plan(both, room=0).peak_bytes
    assert most > 1.2 * alone
    assert check(both, allowed_bytes=most, base_bytes=0).second
    plan = check(both, allowed_bytes=most - 1, base_bytes=0)
    assert not plan.second
    assert alone <= plan.peak_bytes < most
    with pytest.raises(InputError, match=f"at least {amount(1.02 * alone)} of memory"):
        check(both, allowed_bytes=alone - 1, base_bytes=0)


def test_disagreement_of_members_takes_a_byte_a_voxel() -> None:
    voxels = 160 * 200 * 160
    alone, both = (make_plan(replace(WORK, second=second), room=0).stages for second in (False, True))
    assert both["writing"] - alone["writing"] == voxels
