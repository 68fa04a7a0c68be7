import subprocess
import sys

import pytest
import torch

from lodbrain.synthesis.streams import Stream, seed_of


def test_seed_is_the_same_in_every_process() -> None:
    # Python's own hash of a string is not
    code = "from lodbrain.synthesis.streams import seed_of; print(seed_of(7, 'noise', -3))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == seed_of(7, "noise", -3) == 521968121294845149


def test_words_are_kept_apart() -> None:
    assert len({seed_of(1, 2), seed_of(12), seed_of("1", 2), seed_of(2, 1)}) == 4


def test_streams_of_one_scan_differ_by_their_names() -> None:
    assert Stream(1, "blur").uniform() == Stream(1, "blur").uniform() != Stream(1, "bias").uniform()


def test_draws_have_their_distributions() -> None:
    stream = Stream(0)
    uniform = torch.tensor([stream.uniform(2.0, 4.0) for _ in range(500)])
    assert float(uniform.min()) >= 2 and float(uniform.max()) <= 4
    assert float(uniform.mean()) == pytest.approx(3, abs=0.1)
    assert float(torch.tensor([stream.normal(3.0) for _ in range(500)]).std()) == pytest.approx(3, rel=0.1)
    assert 100 <= sum(stream.chance(0.25) for _ in range(500)) <= 150
    assert {stream.integer(3) for _ in range(50)} == {0, 1, 2}
    assert 0 <= stream.seed() < 2**53
