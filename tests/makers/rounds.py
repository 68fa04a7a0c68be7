"""Rounds of faults: processes killed at random moments, and processes that race for one output.

By hand, for the figures of docs/reference/trust.md:

    PYTHONPATH=tests/makers python -m rounds kill 200
    PYTHONPATH=tests/makers python -m rounds term 200
    PYTHONPATH=tests/makers python -m rounds bids 60
    PYTHONPATH=tests/makers python -m rounds race 100
    PYTHONPATH=tests/makers python -m rounds train 20
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import processes
import tiny_model
import yaml
from image_files import Files

#: The scans of a round.
NAMES = ("a", "b")

#: Share of the kills that wait for the first file to be written, which is a short part of a run.
_LATE = 0.5


def segment_rounds(folder: Path, model: Path, number: signal.Signals, rounds: int, seed: int = 0) -> dict[str, int]:
    """Kill `lodbrain segment` at random moments, look at what it left, and let --resume finish.

    Every other round writes over the complete results of other settings, and --overwrite finishes.

    Returns
    -------
    dict of str to int
        Rounds, how many were killed, how many had ended before, files that were seen after the kills. Anything broken,
        lost or doubled raises AssertionError.
    """
    scans, wanted = _prepare(folder, model)
    chance = random.Random(seed)
    began = time.monotonic()
    assert processes.run([*_words(scans, folder / "warm", model), "--resume"]) == 0
    usual_s = time.monotonic() - began
    seen = {"rounds": rounds, "killed": 0, "ended before": 0, "files seen": 0}
    for turn in range(rounds):
        out = folder / f"out{turn}"
        old = turn % 2 == 1
        if old:
            shutil.copytree(folder / "tissue", out)
        log = folder / "log"
        log.unlink(missing_ok=True)
        process = processes.start([*_words(scans, out, model), "--overwrite" if old else "--resume"], log)
        late = chance.random() < _LATE
        delay_s = chance.uniform(0, 0.02 if late else 1.05 * usual_s)
        status = processes.kill(process, number, lambda o=out, x=late: not x or _writing(o), delay_s, 2 * usual_s)
        ended_by = -signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM
        assert status in (0, ended_by, -number), (turn, status, log.read_text())
        seen["killed" if status else "ended before"] += 1
        seen["files seen"] += _check(out, wanted, whole=False)
        if number == signal.SIGTERM and status != -number:  # -number: it came before the program could catch it
            assert [path.name for path in out.glob(".*")] == [], "left behind after SIGTERM"
        # What is left of the old results was made with other settings, which --resume does not replace.
        again = "--overwrite" if old else "--resume"
        assert processes.run([*_words(scans, out, model), again], log) == 0, (turn, log.read_text())
        _check(out, wanted, whole=True)
        shutil.rmtree(out)
    return seen


def bids_rounds(folder: Path, model: Path, rounds: int, seed: int = 0) -> dict[str, int]:
    """Kill `lodbrain bids` at random moments, look at what it left, and let --resume finish.

    Returns
    -------
    dict of str to int
        As `segment_rounds`.
    """
    raw = folder / "raw"
    for turn, name in enumerate(NAMES):
        scan = raw / f"sub-{name}" / "anat" / f"sub-{name}_T1w.nii.gz"
        scan.parent.mkdir(parents=True)
        Files(scan.parent).nifti(scan.name, tiny_model.head(seed=turn), tiny_model.AFFINE)
    (raw / "dataset_description.json").write_text('{"Name": "Two heads", "BIDSVersion": "1.10.0"}')

    def words(out: Path) -> list[str | Path]:
        about = ["--model", model, "--device", "cpu", "--threads", "1", "-q", "--resume"]
        return ["bids", raw, out, "participant", *about]

    def found(out: Path) -> dict[str, bytes]:
        paths = [path for path in out.rglob("*") if path.is_file()]
        visible = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(out).parts)]
        return {path.relative_to(out).as_posix(): _content(path) for path in visible}

    assert processes.run(words(folder / "whole"), folder / "log") == 0, (folder / "log").read_text()
    began, chance, wanted = time.monotonic(), random.Random(seed), found(folder / "whole")
    assert processes.run(words(folder / "warm")) == 0
    usual_s = time.monotonic() - began
    assert sum(name.endswith("_dseg.nii.gz") for name in wanted) == len(NAMES)
    seen = {"rounds": rounds, "killed": 0, "ended before": 0, "files seen": 0}
    for turn in range(rounds):
        out, log = folder / f"derivative{turn}", folder / "log"
        process = processes.start(words(out), log)
        delay_s = chance.uniform(0, 1.05 * usual_s)
        status = processes.kill(process, signal.SIGKILL, lambda: True, delay_s, 2 * usual_s)
        assert status in (0, -signal.SIGKILL), (turn, status, log.read_text())
        seen["killed" if status else "ended before"] += 1
        left = found(out) if out.exists() else {}
        for name, content in left.items():
            assert content == wanted[name], f"round {turn}: {name} is broken"
        seen["files seen"] += len(left)
        assert processes.run(words(out), log) == 0, (turn, log.read_text())
        assert found(out) == wanted, f"round {turn}: lost or doubled"
        shutil.rmtree(out)
    return seen


def races(folder: Path, model: Path, rounds: int, seed: int = 0) -> dict[str, int]:
    """Let two processes with different settings write one output at once; the result is one of the two, whole.

    Returns
    -------
    dict of str to int
        Rounds, and how often one was told that the other is at work.
    """
    scans, wanted = _prepare(folder, model)
    chance = random.Random(seed)
    seen = {"rounds": rounds, "one refused": 0, "one after the other": 0}
    for turn in range(rounds):
        out, log = folder / f"race{turn}", folder / "race.log"
        log.unlink(missing_ok=True)
        first = processes.start([*_words(scans[:1], out, model), "--overwrite"], log)
        time.sleep(chance.uniform(0, 0.05))
        second = processes.start([*_words(scans[:1], out, model), "--overwrite", "--labels", "tissue"], log)
        statuses = sorted([processes.wait(first), processes.wait(second)])
        said = log.read_text()
        assert statuses in ([0, 0], [0, 4]), (statuses, said)
        assert "Traceback" not in said and "internal error" not in said
        if statuses == [0, 4]:
            assert "another process is writing this output" in said
        seen["one refused" if statuses[1] else "one after the other"] += 1
        _check(out, wanted, whole=True, names=NAMES[:1], schemes=("structures", "tissue"))
        shutil.rmtree(out)
    return seen


def train_rounds(folder: Path, number: signal.Signals, rounds: int, seed: int = 0) -> dict[str, int]:
    """Kill `lodbrain train` at random moments until it ends by itself; the model is that of an unbroken run.

    Returns
    -------
    dict of str to int
        Rounds and kills.
    """
    maps = _label_maps(folder)
    began = time.monotonic()
    reference = _config(folder, maps, "reference")
    assert processes.run(["train", reference], folder / "train.log") == 0, (folder / "train.log").read_text()
    usual_s = time.monotonic() - began
    expected = (folder / "reference" / "tiny.safetensors").read_bytes()
    chance = random.Random(seed)
    seen = {"rounds": rounds, "killed": 0}
    for turn in range(rounds):
        config, out = _config(folder, maps, f"run{turn}"), folder / f"run{turn}"
        status = processes.kill(
            processes.start(["train", config], folder / "train.log"),
            number,
            lambda: True,
            chance.uniform(0, usual_s),
            0,
        )
        seen["killed"] += status != 0
        assert status in (0, -number, 128 + number), (status, (folder / "train.log").read_text())
        if status:
            assert processes.run(["train", config], folder / "train.log") == 0, (folder / "train.log").read_text()
        assert (out / "tiny.safetensors").read_bytes() == expected, f"round {turn}: another model"
        assert [path for path in out.rglob(".*")] == [] or number == signal.SIGKILL
        shutil.rmtree(out)
    return seen


def _prepare(folder: Path, model: Path) -> tuple[list[Path], dict[tuple[str, str], dict[str, bytes]]]:
    """The scans, and what each set of outputs has to be, by scan and scheme."""
    files = Files(folder)
    scans = [
        files.nifti(f"{name}.nii.gz", tiny_model.head(seed=turn), tiny_model.AFFINE) for turn, name in enumerate(NAMES)
    ]
    wanted = {}
    for scheme in ("structures", "tissue"):
        out = folder / scheme
        assert processes.run([*_words(scans, out, model), "--labels", scheme, "--resume"], folder / "log") == 0
        for name in NAMES:
            wanted[name, scheme] = {path.name: _content(path) for path in sorted(out.glob(f"{name}_*"))}
            assert len(wanted[name, scheme]) == 4
    return scans, wanted


def _words(scans: list[Path], out: Path, model: Path) -> list[str | Path]:
    return ["segment", *scans, "-o", out, "--model", model, "--device", "cpu", "--threads", "1", "-q"]


def _content(path: Path) -> bytes:
    """A file's bytes; of a sidecar only what two runs have in common."""
    if path.suffix != ".json":
        return path.read_bytes()
    record = json.loads(path.read_text(encoding="utf-8"))
    for changing in ("execution", "peak_memory_mib", "planned_peak_memory_mib"):
        record.pop(changing, None)
    return json.dumps(record).encode()


def _writing(out: Path) -> bool:
    return any(path.name.endswith(".gz") for path in out.glob(".*/*"))


def _check(
    out: Path,
    wanted: dict[tuple[str, str], dict[str, bytes]],
    *,
    whole: bool,
    names: tuple[str, ...] = NAMES,
    schemes: tuple[str, ...] | None = None,
) -> int:
    """Number of files in `out`, each of which is right; with `whole` all are there and nothing else."""
    schemes = schemes or (("structures",) if whole else ("structures", "tissue"))
    count = 0
    for name in names:
        found = {path.name: _content(path) for path in sorted(out.glob(f"{name}_*"))}
        count += len(found)
        sets = [wanted[name, scheme] for scheme in schemes]
        for file, content in found.items():
            assert content in [one.get(file) for one in sets], f"{file} is neither the old one nor the new one"
        if whole or f"{name}_dseg.json" in found:
            assert found in sets, f"{name}: {sorted(found)} do not belong together"
    if whole:
        assert len(list(out.iterdir())) == count, f"left behind: {sorted(path.name for path in out.iterdir())}"
    return count


def _label_maps(folder: Path) -> Path:
    """Two label maps of an ellipsoidal head."""
    maps = folder / "maps"
    maps.mkdir()
    x, y, z = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in (30, 34, 28)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    labels = np.zeros(radius.shape, np.int16)
    for limit, left, right in ((0.95, 516, 516), (0.8, 24, 24), (0.74, 3, 42), (0.6, 2, 41), (0.3, 10, 49)):
        labels[radius < limit] = np.where(x < 0, left, right)[radius < limit]
    for name in ("head", "other"):
        Files(maps).nifti(f"{name}.nii.gz", labels, np.diag([5.0, 5.0, 5.0, 1.0]))
    return maps


def _config(folder: Path, maps: Path, name: str) -> Path:
    fields = {
        "name": "tiny",
        "out": str(folder / name),
        "labelmaps": str(maps),
        "train": ["head"],
        "validate": ["other"],
        "levels": [
            {"exponent": 3, "channels": [4, 8], "steps": 6},
            {"exponent": 2, "channels": [4, 8], "steps": 4, "sided": False, "crop": [12, 16, 12], "halo": 4},
        ],
        "generator": {"field_of_view": {"voxel_mm": [5.0, 7.0]}},
        "bfloat16": False,
        "warm_up": 2,
        "checkpoint_every": 1,
        "validate_every": 3,
        "validation_scans": 1,
        "threads": 1,
        "device": "cpu",
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def _main(kind: str, rounds: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.monotonic()
        if kind == "train":
            seen = train_rounds(folder, signal.SIGKILL, rounds, seed)
        else:
            model = tiny_model.save_tiny_model(folder / "tiny.safetensors")
            if kind == "race":
                seen = races(folder, model, rounds, seed)
            elif kind == "bids":
                seen = bids_rounds(folder, model, rounds, seed)
            else:
                number = signal.SIGKILL if kind == "kill" else signal.SIGTERM
                seen = segment_rounds(folder, model, number, rounds, seed)
        print(kind, seen, f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
