"""Training that is killed by the system, and training in several processes: in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lodbrain.training.checkpoint import load_checkpoint
from lodbrain.training.config import TrainingConfig

MakeConfig = Callable[..., TrainingConfig]

RUN = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("error")
import torch
from lodbrain.training.config import TrainingConfig
from lodbrain.training.training_run import train
torch.set_num_threads(1)
train(TrainingConfig.model_validate_json(Path(sys.argv[1]).read_text()), report=lambda line: print(line, flush=True))
"""


def _start(config: TrainingConfig, path: Path, **environment: str) -> subprocess.Popen[str]:
    path.write_text(json.dumps(config.model_dump(mode="json", by_alias=True)))
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def _finish(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=3000)
    assert process.returncode == 0, error
    return out


def _same(one: Path, two: Path) -> bool:
    a, b = load_file(one), load_file(two)
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


STAGES = ("level+3", "level+2", "joint")


def _progress(folder: Path) -> list[int]:
    """Steps that the checkpoints of each stage hold."""
    found = [load_checkpoint(folder / f"{name}.safetensors") for name in STAGES]
    return [0 if each is None else int(each[1]["step"]) for each in found]


@pytest.mark.slow
def test_killed_training_resumes_to_the_result_of_an_unbroken_one(
    make_config: MakeConfig, folder: Path, tmp_path: Path
) -> None:
    def config(name: str) -> TrainingConfig:
        return make_config(
            labelmaps=folder,
            out=tmp_path / name,
            joint={"steps": 4},
            checkpoint_every=1,
            validate_every=100,
            device="cpu",
        )

    whole = _start(config("whole"), tmp_path / "whole.json")
    # Each attempt is killed a little after it got further than the one before, at whatever it is then doing.
    broken = config("broken")
    reached = [_progress(broken.out)]
    for delay in (0.0, 0.03, 0.08):
        process = _start(broken, tmp_path / "broken.json")
        while _progress(broken.out) <= reached[-1]:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        reached.append(_progress(broken.out))
    _finish(_start(broken, tmp_path / "broken.json"))
    _finish(whole)
    assert [0, 0, 0] == reached[0] < reached[1] < reached[2] < reached[3] < [6, 4, 4]
    for name in ("level+3", "level+2", "joint", "tiny"):
        assert _same(tmp_path / f"whole/{name}.safetensors", broken.out / f"{name}.safetensors"), name


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(make_config: MakeConfig, folder: Path, tmp_path: Path) -> None:
    levels = [
        {"exponent": 3, "channels": [4, 8], "steps": 3},
        {"exponent": 2, "channels": [4, 8], "steps": 3, "sided": False, "crop": [12, 16, 12], "halo": 4},
    ]

    def config(name: str, **changes: int) -> TrainingConfig:
        return make_config(
            labelmaps=folder, out=tmp_path / name, levels=levels, joint={"steps": 2}, device="cpu",
            validation_scans=2, validate_every=100, ema=0.5, **changes,
        )  # fmt: skip

    alone = _start(config("alone", accumulate=2), tmp_path / "alone.json")
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(29500 + os.getpid() % 1000), "WORLD_SIZE": "2"}
    both = [
        _start(config("both", accumulate=1), tmp_path / "both.json", RANK=str(rank), LOCAL_RANK=str(rank), **address)
        for rank in range(2)
    ]
    lines = [_finish(process) for process in both]
    _finish(alone)
    assert "level+2 step 3" in lines[0]
    assert lines[1] == ""  # only the first process speaks and writes
    for name in ("level+3", "level+2", "joint"):
        one, two = (load_checkpoint(tmp_path / run / f"{name}.safetensors") for run in ("alone", "both"))
        assert one is not None
        assert two is not None
        for key, value in one[0]["model"].items():
            torch.testing.assert_close(
                two[0]["model"][key], value, rtol=1e-3, atol=1e-4, msg=lambda m, k=key: f"{k}: {m}"
            )
    validated = [line for line in lines[0].splitlines() if "tissues" in line]
    assert len(validated) == 3
