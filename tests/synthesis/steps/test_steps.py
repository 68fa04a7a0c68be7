"""What all steps promise."""

from collections.abc import Callable

import pytest
import torch
from pydantic import TypeAdapter

from lodbrain.synthesis.fields import RandomField
from lodbrain.synthesis.generator_settings import GeneratorSettings
from lodbrain.synthesis.steps.background_noise import Background, RandomBackground
from lodbrain.synthesis.steps.blur import Blur, RandomBlur
from lodbrain.synthesis.steps.ghosts import Ghosts, RandomGhosts
from lodbrain.synthesis.steps.motion import Motion, Move, RandomMotion
from lodbrain.synthesis.steps.noise import Noise, RandomNoise
from lodbrain.synthesis.steps.receive import Bias, RandomBias
from lodbrain.synthesis.steps.susceptibility import DropOut, RandomSusceptibility, Susceptibility
from lodbrain.synthesis.steps.texture import RandomTexture, Texture
from lodbrain.synthesis.steps.thick_slices import RandomSlices, Slices
from lodbrain.synthesis.steps.tone import RandomTone, Tone
from lodbrain.synthesis.steps.transmit import Bump, RandomTransmit, Transmit
from lodbrain.synthesis.steps.view import Step, View
from lodbrain.synthesis.streams import Stream

FIELD = RandomField(4, 8.0)
STILL = Move(0.3, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))

NOTHING: list[Step] = [
    Background("rician", 0.0),
    Background("mp2rage", 0.0),
    Bias(FIELD, 0.0),
    Blur(0.0),
    Ghosts(1, 3, 0.0),
    Motion(0, ()),
    Motion(0, (STILL,)),
    Noise(0.0),
    Noise(0.0, rician=True),
    Slices(2, 0.0),
    Slices(2, 1.0),
    Susceptibility((DropOut((0.0, 0.0, 0.0), 5.0, 0.0),), FIELD),
    Texture(FIELD, 0.0),
    Tone(),
    Transmit((Bump((0.0, 0.0, 0.0), 30.0, 0.0),)),
]
SOMETHING: list[Step] = [
    Background("zero"),
    Background("rician", 0.05),
    Background("mp2rage", 1.0),
    Bias(FIELD, 0.5),
    Blur(2.0),
    Ghosts(1, 3, 0.2),
    Motion(0, (Move(0.4, (2.0, 0.0, 0.0), (0.0, 0.0, 5.0)), Move(0.8, (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)))),
    Noise(0.05),
    Noise(0.05, rician=True),
    Slices(2, 3.0),
    Susceptibility((DropOut((0.0, 0.0, 0.0), 5.0, 2.0),), FIELD),
    Texture(FIELD, 0.1),
    Tone(1.3, 0.4),
    Transmit((Bump((0.0, 0.0, 0.0), 8.0, 0.5),)),
]


def _name(step: Step) -> str:
    return type(step).__name__


@pytest.mark.parametrize("step", NOTHING, ids=_name)
def test_zero_strength_changes_nothing(step: Step, image: torch.Tensor, view: Callable[..., View]) -> None:
    assert torch.equal(step.apply(image, view(signal=image)), image)


@pytest.mark.parametrize("step", SOMETHING, ids=_name)
def test_step_leaves_its_input_and_repeats_itself(step: Step, image: torch.Tensor, view: Callable[..., View]) -> None:
    signal = torch.where(image > 20, image, 0.0)
    before, kept = image.clone(), signal.clone()
    once, again = (step.apply(image, view(signal=signal)) for _ in range(2))
    assert torch.equal(image, before) and torch.equal(signal, kept)
    assert torch.equal(once, again)
    assert not torch.equal(once, image)
    assert bool(once.isfinite().all())


@pytest.mark.parametrize("step", SOMETHING, ids=_name)
def test_step_survives_json(step: Step, image: torch.Tensor, view: Callable[..., View]) -> None:
    adapter = TypeAdapter(type(step))
    back = adapter.validate_json(adapter.dump_json(step))
    assert back == step
    assert torch.equal(back.apply(image, view(signal=image)), step.apply(image, view(signal=image)))


@pytest.mark.parametrize("step", [s for s in SOMETHING if not isinstance(s, Noise | Background)], ids=_name)
def test_a_batch_gets_the_same_step(step: Step, image: torch.Tensor, view: Callable[..., View]) -> None:
    batch = torch.stack([image, 2 * image])[:, None]
    out = step.apply(batch, view())
    assert out.shape == batch.shape
    torch.testing.assert_close(out[0, 0], step.apply(image, view()))
    torch.testing.assert_close(out[1, 0], step.apply(2 * image, view()))


def test_a_batch_gets_noise_of_its_own(view: Callable[..., View]) -> None:
    flat = torch.full((2, *view().grid.shape), 100.0)
    out = Noise(0.05).apply(flat, view())
    assert float(out.std()) == pytest.approx(8, rel=0.03)
    assert abs(float(((out[0] - 100) * (out[1] - 100)).mean())) < 3


RANDOM = (RandomBackground(), RandomBias(), RandomBlur(), RandomGhosts(), RandomMotion(), RandomNoise(), RandomSlices())


@pytest.mark.parametrize(
    "random", [*RANDOM, RandomSusceptibility(), RandomTexture(), RandomTone(), RandomTransmit()], ids=_name
)
def test_same_stream_same_draw(random: RandomBlur) -> None:
    draws = [[random.draw(Stream(seed, "step")) for seed in range(60)] for _ in range(2)]
    assert draws[0] == draws[1]
    assert len({repr(draw) for draw in draws[0]}) > 1


def test_settings_are_hashable_and_equal() -> None:
    assert GeneratorSettings() == GeneratorSettings()
    assert hash(GeneratorSettings()) == hash(GeneratorSettings())
