import pytest
import torch

from lodbrain.models.blocks import PlainConv, Residual, StandardConv, activate, double


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (2, 2)])
def test_kernels_have_zero_mean_and_unit_norm_times_their_gain(size: int, stride: int) -> None:
    conv = StandardConv(4, 3, size, stride=stride)
    with torch.no_grad():
        conv.weight.mul_(5).add_(2)
        conv.gain.copy_(torch.tensor([1.0, 0.5, 3.0]).view(3, 1, 1, 1, 1))
    kernel = conv.kernel().flatten(1)
    torch.testing.assert_close(kernel.mean(1), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(kernel.norm(dim=1), torch.tensor([1.0, 0.5, 3.0]), rtol=1e-4, atol=0)


def test_convolution_ignores_a_constant_inside_of_the_volume() -> None:
    conv = StandardConv(2, 3)
    x = _random(1, 2, 6, 6, 6)
    inner = (..., *[slice(1, -1)] * 3)
    torch.testing.assert_close(conv(x)[inner], conv(x + 7)[inner], atol=1e-4, rtol=0)


def test_convolution_keeps_the_variance_and_activation_the_mean_square_of_unit_noise() -> None:
    x = _random(1, 8, 20, 20, 20)
    with torch.no_grad():
        out = StandardConv(8, 16)(x)[..., 1:-1, 1:-1, 1:-1]
        assert float(out.var(dim=(0, 2, 3, 4)).mean()) == pytest.approx(1, rel=0.05)
        assert float(activate(x).square().mean()) == pytest.approx(1, rel=0.05)


def test_shapes_are_kept_or_halved() -> None:
    x = _random(1, 2, 6, 8, 4)
    assert StandardConv(2, 5)(x).shape == (1, 5, 6, 8, 4)
    assert StandardConv(2, 5, 2, stride=2)(x).shape == (1, 5, 3, 4, 2)


def test_activation_is_the_same_with_and_without_gradients() -> None:
    x = _random(4, 4)
    expected = torch.where(x > 0, x, 0.1 * x) * (2 / 1.01) ** 0.5
    torch.testing.assert_close(activate(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(activate(x.clone()), expected)


@pytest.mark.parametrize("block", [Residual(4), PlainConv(4, 4)])
def test_block_without_gradients_gives_the_same_and_leaves_its_input_alone(block: torch.nn.Module) -> None:
    x = _random(1, 4, 5, 6, 7)
    before = x.clone()
    with_gradients = block(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(block(x), with_gradients, atol=1e-6, rtol=1e-5)
    assert torch.equal(x, before)


def test_residual_of_no_strength_is_the_identity() -> None:
    block = Residual(4)
    with torch.no_grad():
        block.strength.zero_()
    x = _random(1, 4, 5, 5, 5)
    assert torch.equal(block(x), x)


def test_doubling_puts_two_voxels_into_each_one() -> None:
    ramp = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 1, 4, 3, 2)
    up = double(ramp, (8, 6, 4))
    assert up[0, 0, :, 2, 1].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    torch.testing.assert_close(up.view(1, 1, 4, 2, 6, 4).mean(3)[0, 0, 1:3, 0, 0], torch.tensor([1.0, 2.0]))


def test_doubling_cuts_off_what_is_too_much() -> None:
    x = _random(2, 3, 4, 4, 4)
    assert torch.equal(double(x, (7, 8, 5)), double(x, (8, 8, 8))[:, :, :7, :, :5])
