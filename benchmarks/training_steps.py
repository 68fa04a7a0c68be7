"""Training steps per hour at each level, of several versions of the code in turn.

    python benchmarks/training_steps.py configs/default-6.yaml --source ../before/src src --steps 40 --rounds 2

Every round trains each level for so many steps with each version, in a fresh process, as `lodbrain train` would; the
coarser levels are those of the model that the configuration starts from. Steps are timed by the clock, without the
first, which waits for the first pairs. Finer label maps are made before and kept in the output folder, for each
version its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

#: Run with each version: prints seconds per step of one level.
CHILD = """
import json, sys
if sys.argv[2] == "keep":
    from lodbrain.system.memory import keep_freed_memory
    keep_freed_memory()
from lodbrain.training.config import TrainingConfig
try:
    from lodbrain.training.training_run import TrainingRun
except ImportError:  # an earlier version
    from lodbrain.training.run import Run as TrainingRun
from lodbrain.training.workers import join
import torch
config = TrainingConfig.model_validate(json.loads(sys.argv[1]))
position = int(sys.argv[3])
levels = [level if n == position else level.model_copy(update={"steps": 0}) for n, level in enumerate(config.levels)]
config = config.model_copy(update={"levels": tuple(levels)})
with join(config.device) as workers:
    run = TrainingRun(config, workers, lambda line: None, False)
    config.out.mkdir(parents=True, exist_ok=True)
    if position < 0:
        for position in range(len(config.levels)):
            run._sources(position)
    else:
        outcome = run.level(position)
        print(json.dumps({"seconds": outcome.seconds_per_step, "gib": outcome.peak_bytes / 2**30}))
"""


def main() -> int:
    """Run it and print a line for each level, arithmetic and version."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--source", type=Path, nargs="+", default=[Path("src")], help="folders that hold lodbrain")
    parser.add_argument("--labelmaps", type=Path, help="in place of the configuration's")
    parser.add_argument("--maps", nargs="+", help="in place of those that the configuration trains on")
    parser.add_argument("--start", default="default", help="model with the levels above, default: %(default)s")
    parser.add_argument("--levels", type=int, nargs="+", help="positions, 0 the coarsest; default: all")
    parser.add_argument("--arithmetic", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--fine", type=Path, help="folder that keeps the finer label maps between runs")
    asked = parser.parse_args()
    fields = yaml.safe_load(asked.config.read_text())  # without defaults, which an earlier version may not know
    fields |= {"start": asked.start, "start_share": 0, "validate_every": 10**9, "checkpoint_every": 10**9}
    fields |= {"labelmaps": str(asked.labelmaps or fields["labelmaps"]), "train": asked.maps or fields["train"]}
    fields |= {"validation_scans": 1, "validate": fields["validate"][:1], "pictures": False}
    for level in fields["levels"]:
        level.update({"steps": asked.steps, "seconds": None})
        level.pop("crops_per_head", None)
    seconds: dict[tuple[int, str, Path], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:

        def run(source: Path, position: int, arithmetic: str) -> str:
            fine = (asked.fine or Path(folder, "fine")) / str(asked.source.index(source))
            now = {**fields, "bfloat16": arithmetic == "bfloat16", "fine_labelmaps": str(fine)}
            now["out"] = str(Path(folder, f"{len(seconds)}-{position}-{os.urandom(4).hex()}"))
            trains = next((source / "lodbrain").glob("c*/train.py"))  # cli/ until it became commands/
            keeps = "keep" if "keep_freed_memory" in trains.read_text() else "free"
            command = [sys.executable, "-c", CHILD, json.dumps(now), keeps, str(position)]
            environment = {**os.environ, "PYTHONPATH": str(source.resolve())}
            return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout

        for source in asked.source:
            run(source, -1, "float32")
        for number in range(asked.rounds):
            for position in asked.levels or range(len(fields["levels"])):
                for arithmetic in asked.arithmetic:
                    for source in asked.source:
                        found = json.loads(run(source, position, arithmetic).splitlines()[-1])
                        seconds.setdefault((position, arithmetic, source), []).append(found["seconds"])
                        where = f"{2.0 ** fields['levels'][position]['exponent']:g} mm, {arithmetic}, {source}"
                        taken = f"{found['seconds']:.3f} s, {found['gib']:.2f} GiB"
                        print(f"round {number + 1}: {where}: {taken}", flush=True)
    for position, arithmetic, source in seconds:
        median, first = (statistics.median(seconds[position, arithmetic, s]) for s in (source, asked.source[0]))
        where = f"{2.0 ** fields['levels'][position]['exponent']:g} mm, {arithmetic}, {source}"
        print(f"{where}: {median:.3f} s a step, {3600 / median:.0f} steps an hour, x{first / median:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
