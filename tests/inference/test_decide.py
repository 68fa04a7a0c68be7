import numpy as np
import pytest
import torch

from lodbrain.inference import decide as module
from lodbrain.inference.decide import Decision, decide, repooled
from lodbrain.labels import CLASS_OF_INDEX, SIDELESS, SIDELESS_OF_CLASS, TISSUE_OF_CLASS
from lodbrain.models.lod import LevelOutput, split_sides

SHAPE = (7, 6, 5)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _sided() -> LevelOutput:
    logits = _random(1, 33, *SHAPE)
    return LevelOutput(logits, logits)


def _sideless(strength: float = 10.0) -> LevelOutput:
    logits = _random(1, 19, *SHAPE)
    side = strength * torch.where(_random(1, 1, *SHAPE, seed=1) > 0, 1.0, -1.0)
    return LevelOutput(logits, logits, side)


def _posteriors(output: LevelOutput) -> torch.Tensor:
    """(33, X, Y, Z) float32, the plain way."""
    log_p = output.logits.log_softmax(1)
    return (log_p if output.side is None else split_sides(log_p, output.side))[0].exp()


@pytest.mark.parametrize("output", [_sided(), _sideless(), _sideless(0.5)], ids=["sided", "sure", "unsure"])
def test_posteriors_sum_to_one_and_soft_volumes_are_their_sums(output: LevelOutput) -> None:
    decision = decide(output, posteriors=True)
    assert decision.posteriors is not None
    expected = _posteriors(output)
    np.testing.assert_allclose(decision.posteriors, expected.numpy(), atol=1e-3)
    np.testing.assert_allclose(decision.posteriors.astype(np.float32).sum(0), 1, atol=2e-3)
    np.testing.assert_allclose(decision.soft_volume_vox, expected.sum((1, 2, 3)).numpy(), rtol=1e-4)
    assert decision.soft_volume_vox.sum() == pytest.approx(np.prod(SHAPE), rel=1e-5)


@pytest.mark.parametrize("output", [_sided(), _sideless()], ids=["sided", "sideless"])
def test_pooled_posteriors_are_sums_over_classes(output: LevelOutput) -> None:
    pooling = tuple(int(label) for label in TISSUE_OF_CLASS)
    found = decide(output, posteriors=True, pooling=pooling).posteriors
    plain = _posteriors(output).numpy()
    expected = np.stack([plain[tissue == TISSUE_OF_CLASS].sum(0) for tissue in range(7)])
    assert found is not None
    assert (found.shape, found.dtype) == ((7, *SHAPE), np.float16)
    np.testing.assert_allclose(found, expected, atol=5e-4)
    each = decide(output, posteriors=True).posteriors
    assert each is not None
    np.testing.assert_allclose(repooled(each, pooling), expected, atol=2e-3)
    assert repooled(each, None) is each
    assert repooled(found, pooling, pooling) is found


def test_the_background_of_an_empty_decision_is_in_its_own_volume() -> None:
    soft = Decision.empty((2, 2, 2), posteriors=True, pooling=(1, *[0] * 32)).posteriors
    assert soft is not None
    assert soft.shape == (2, 2, 2, 2)
    assert soft[1].all()
    assert not soft[0].any()


def test_variance_is_the_sum_of_p_times_one_less_p() -> None:
    expected = _posteriors(_sided())
    variance = (expected * (1 - expected)).sum((1, 2, 3)).numpy()
    np.testing.assert_allclose(decide(_sided(), posteriors=False).variance_vox, variance, rtol=1e-4)
    sideless = _sideless(20.0).logits.softmax(1)[0]
    found = decide(_sideless(20.0), posteriors=False).variance_vox
    by_structure = np.zeros(len(SIDELESS))
    np.add.at(by_structure, SIDELESS_OF_CLASS, found)  # both sides of a structure share its variance
    np.testing.assert_allclose(by_structure, (sideless * (1 - sideless)).sum((1, 2, 3)).numpy(), rtol=1e-3)


@pytest.mark.parametrize("output", [_sided(), _sideless()], ids=["sided", "sideless"])
def test_classes_are_the_largest_posteriors(output: LevelOutput) -> None:
    decision = decide(output, posteriors=False)
    np.testing.assert_array_equal(decision.classes, _posteriors(output).argmax(0).numpy())
    assert decision.posteriors is None
    assert decision.classes.dtype == np.uint8


def test_structure_is_decided_before_its_side() -> None:
    logits = torch.full((1, len(SIDELESS), 1, 1, 1), -20.0)
    cortex, stem = SIDELESS.index("Cerebral-Cortex"), SIDELESS.index("Brain-Stem")
    logits[0, cortex], logits[0, stem] = 0.0, -0.5
    decision = decide(LevelOutput(logits, logits, torch.full((1, 1, 1, 1, 1), -0.2)), posteriors=False)
    # The cortex has 0.62, 0.34 of it on the right; the brainstem, which has no side, has 0.38.
    assert decision.classes.item() == CLASS_OF_INDEX[42]


def test_rows_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for output in (_sided(), _sideless()):
        whole = decide(output, posteriors=True)
        monkeypatch.setattr(module, "_ROWS_VOXELS", 2 * SHAPE[1] * SHAPE[2])
        rows = decide(output, posteriors=True)
        monkeypatch.undo()
        np.testing.assert_array_equal(rows.classes, whole.classes)
        np.testing.assert_array_equal(rows.posteriors, whole.posteriors)
        np.testing.assert_allclose(rows.soft_volume_vox, whole.soft_volume_vox, rtol=1e-5)
        np.testing.assert_array_equal(rows.certainty, whole.certainty)


def test_certainty_is_the_best_posterior_in_255ths() -> None:
    logits = torch.full((1, 33, 3, 1, 1), -30.0)
    logits[0, 1, 0], logits[0, 2, 0] = 0.0, 0.0  # one half
    logits[0, 1, 1] = 0.0  # certain
    logits[0, 0, 2] = 0.0  # background
    assert decide(LevelOutput(logits, logits), posteriors=False).certainty.ravel().tolist() in (
        [128, 255, 255],
        [127, 255, 255],
    )
    assert (Decision.empty((2, 2, 2), posteriors=False).certainty == 255).all()


def test_parts_are_put_where_they_belong() -> None:
    part = decide(_sided(), posteriors=True)
    whole = Decision.empty((10, 10, 10), posteriors=True)
    whole.put(part, (2, 3, 4))
    assert part.posteriors is not None
    assert whole.posteriors is not None
    np.testing.assert_array_equal(whole.classes[2:9, 3:9, 4:9], part.classes)
    np.testing.assert_array_equal(whole.posteriors[:, 2:9, 3:9, 4:9], part.posteriors)
    assert np.count_nonzero(whole.classes) == np.count_nonzero(part.classes)
    assert (whole.posteriors[0, :2] == 1).all()
    whole.put(part, (0, 0, 0))
    np.testing.assert_allclose(whole.soft_volume_vox, 2 * part.soft_volume_vox)
    np.testing.assert_array_equal(whole.certainty[:7, :6, :5][:2], part.certainty[:2])
    assert (whole.certainty[9:] == 255).all()
