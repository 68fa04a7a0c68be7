import pytest
import torch
from torch.nn.functional import one_hot

from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, TISSUE_OF_CLASS
from lodbrain.training import losses
from lodbrain.training.config_fields import Losses
from lodbrain.training.losses import dice_loss, merge, segmentation_loss


def _target(classes: int = 33) -> torch.Tensor:
    """(1, C, 12, 12, 12): every class in 52 voxels or more."""
    labels = torch.arange(12**3).view(1, 12, 12, 12) % classes
    return one_hot(labels, classes).movedim(-1, 1).float()


def merge_target_sides(target: torch.Tensor) -> torch.Tensor:
    """Shares of 19 classes without sides."""
    return merge(target, torch.as_tensor(SIDELESS_OF_CLASS), len(SIDELESS))


def soft_dice_loss(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """`dice_loss` of posteriors and target shares (B, C, X, Y, Z)."""
    return dice_loss(*(each.sum((2, 3, 4)) for each in (p * t, p * p + t * t, t)))


@pytest.mark.parametrize("classes", [33, 19])
def test_perfect_prediction_costs_nothing(classes: int) -> None:
    target = _target(classes)
    assert float(segmentation_loss(target * 60, target)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("classes", [33, 19])
def test_the_more_is_wrong_the_more_it_costs(classes: int) -> None:
    target = _target(classes)
    losses = []
    for wrong in (0, 4, 12):
        guess = target.clone()
        guess[:, :, :wrong] = target[:, :, :wrong].roll(1, 1)
        losses.append(float(segmentation_loss(guess * 8, target)))
    assert losses[0] < losses[1] - 1 < losses[2] - 2


def test_loss_of_no_idea_is_that_of_equal_shares() -> None:
    target = _target()
    p = 1 / 33
    dice = torch.tensor([2 * n * p / (n + 12**3 * p**2) for n in target.sum((0, 2, 3, 4))[1:].tolist()]).mean()
    # each tissue is told as many 33rds as it has structures
    share = torch.bincount(torch.as_tensor(TISSUE_OF_CLASS)) / 33
    size = merge(target, torch.as_tensor(TISSUE_OF_CLASS), 7).sum((0, 2, 3, 4))
    tissue = (2 * size * share / (size + 12**3 * share**2))[1:].mean()
    expected = torch.log(torch.tensor(33.0)) + (1 - dice) + 0.5 * (1 - tissue)
    torch.testing.assert_close(segmentation_loss(torch.zeros_like(target), target), expected)


def test_soft_target_is_best_met_by_its_own_shares() -> None:
    target = 0.7 * _target() + 0.3 * _target().roll(1, 1)
    own = (target + 1e-9).log()
    losses = [float(segmentation_loss(own * sharpness, target)) for sharpness in (0.3, 1.0, 3.0)]
    assert losses[1] < min(losses[0], losses[2])


def test_absent_and_tiny_classes_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    target = torch.zeros(1, 4, 10, 10, 10)
    target[:, 1, :5], target[:, 0, 5:] = 1, 1
    target[0, 0, 9, 9, :], target[0, 2, 9, 9, :] = 0, 1  # class 2 has 10 voxels, class 3 none
    p = target.clone()
    p[:, 2], p[:, 3] = 0.3, 0.7
    assert float(soft_dice_loss(p, target)) == pytest.approx(0, abs=1e-6)
    monkeypatch.setattr(losses, "LEAST_VOXELS", 5.0)
    assert float(soft_dice_loss(p, target)) > 0.3


def test_without_any_structure_dice_is_no_loss_but_still_has_a_gradient() -> None:
    target = torch.zeros(1, 3, 4, 4, 4)
    target[:, 0] = 1
    p = torch.full_like(target, 1 / 3, requires_grad=True)
    loss = soft_dice_loss(p, target)
    loss.backward()
    assert loss.item() == 0
    assert p.grad is not None
    assert not p.grad.any()


def test_half_overlap_has_a_dice_of_one_half() -> None:
    target = torch.zeros(1, 2, 40, 1, 1)
    target[0, 1, :20], target[0, 0, 20:] = 1, 1
    p = target.roll(10, 2)
    assert float(soft_dice_loss(p, target)) == pytest.approx(0.5)


def test_merging_adds_shares() -> None:
    shares = torch.rand((2, 33, 3, 3, 3), generator=torch.Generator().manual_seed(0)).softmax(1)
    tissues = merge(shares, torch.as_tensor(TISSUE_OF_CLASS), 7)
    torch.testing.assert_close(tissues[:, 3], shares[:, [c for c, t in enumerate(TISSUE_OF_CLASS) if t == 3]].sum(1))
    torch.testing.assert_close(tissues.sum(1), torch.ones(2, 3, 3, 3))
    sideless = merge_target_sides(shares)
    assert sideless.shape[1] == len(SIDELESS)
    torch.testing.assert_close(sideless.sum(1), torch.ones(2, 3, 3, 3))


def test_weights_choose_the_losses() -> None:
    target, logits = _target(), torch.randn(1, 33, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    none = {"cross_entropy": 0.0, "dice": 0.0, "tissue_dice": 0.0}

    def loss(**weights: float) -> float:
        return float(segmentation_loss(logits, target, weights=Losses(**{**none, **weights})))

    parts = [loss(cross_entropy=1), loss(dice=1), loss(tissue_dice=1)]
    assert len({round(part, 4) for part in parts}) == 3
    p = logits.softmax(1)
    assert parts[0] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, target)), rel=1e-5)
    assert parts[1] == pytest.approx(float(soft_dice_loss(p, target)), rel=1e-5)
    assert loss(cross_entropy=2, dice=0.5, tissue_dice=3) == pytest.approx(
        2 * parts[0] + 0.5 * parts[1] + 3 * parts[2], rel=1e-5
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("sides", [True, False])
def test_loss_and_gradient_are_those_of_the_formulas(sides: bool, layout: torch.memory_format) -> None:
    random = torch.Generator().manual_seed(0)
    target = torch.rand((2, 33, 20, 30, 22), generator=random).pow(9)  # more voxels than are summed at a time
    target /= target.sum(1, keepdim=True)
    goal = target if sides else merge_target_sides(target)
    scores = (3 * torch.randn(goal.shape, generator=random)).contiguous(memory_format=layout)
    table = torch.as_tensor(
        TISSUE_OF_CLASS if sides else [TISSUE_OF_CLASS[SIDELESS_OF_CLASS.tolist().index(c)] for c in range(19)]
    )

    def formulas(logits: torch.Tensor) -> torch.Tensor:
        p = logits.softmax(1)
        tissues = soft_dice_loss(merge(p, table, 7), merge(goal, table, 7))
        return -(goal * logits.log_softmax(1)).sum(1).mean() + soft_dice_loss(p, goal) + 0.5 * tissues

    found, expected = (scores.clone().requires_grad_() for _ in range(2))
    loss, reference = segmentation_loss(found, target), formulas(expected)
    (3 * loss).backward()
    (3 * reference).backward()
    torch.testing.assert_close(loss, reference)
    assert found.grad is not None
    assert expected.grad is not None
    assert found.grad.is_contiguous(memory_format=layout)
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-9)


def test_very_unlikely_classes_cost_what_their_logits_say() -> None:
    target = _target(4)
    logits = torch.zeros_like(target)
    logits[:, 0] = 300.0  # the posteriors of the others are 0 in float32
    cross_entropy = segmentation_loss(logits, target, weights=Losses(dice=0, tissue_dice=0))
    assert float(cross_entropy) == pytest.approx(300 * 3 / 4)


def test_batch_costs_the_mean_of_its_volumes() -> None:
    one, two = _target(), _target().roll(5, 1)
    two[:, 20:] = 0  # fewer classes: a mean over all classes of the batch would weigh the volumes unequally
    two[:, 0] = 1 - two[:, 1:].sum(1)
    logits = torch.randn(2, 33, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    single = [segmentation_loss(logits[n : n + 1], t) for n, t in enumerate((one, two))]
    torch.testing.assert_close(segmentation_loss(logits, torch.cat([one, two])), torch.stack(single).mean())
