"""How far bfloat16 moves the labels: voxels that differ from float32's, and Dice between the two.

    python benchmarks/precision.py SCAN... --model default

Where the processor has no bfloat16, each convolution is computed in float32 of the rounded values and its result is
rounded, which is what such processors do.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lodbrain.evaluation.overlap import count
from lodbrain.images import read_image, to_ras
from lodbrain.inference.precision import working_dtype
from lodbrain.inference.predict import Options, predict
from lodbrain.segmentation.settings import Settings, load_model


def rounded_conv3d(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, *rest: Any) -> torch.Tensor:
    """A convolution that accumulates in float32 and rounds once."""
    made = _CONV3D(x.float(), kernel.float(), None if bias is None else bias.float(), *rest)
    return made.to(x.dtype)


_CONV3D = F.conv3d


def main() -> int:
    """Print a row for each scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--model", default="default")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    model = load_model(Settings(model=asked.model, device=asked.device))
    if working_dtype("auto", torch.device(model.device)) is torch.float32:
        F.conv3d = rounded_conv3d  # type: ignore[assignment]
    for path in asked.scans:
        scan, _ = to_ras(read_image(path))
        x, y, z = scan.spacing_mm.tolist()
        found = []
        for dtype in ("float32", "bfloat16"):
            began = time.perf_counter()
            options = Options(device=model.device, dtype=dtype)
            found.append(predict(scan.data, (x, y, z), card=model.card, network=model.network, options=options).classes)
            print(f"{path.name} {dtype}: {time.perf_counter() - began:.1f} s", flush=True)
        one, two = found
        dice = {number: count(one == number, two == number).dice for number in np.unique(one)[1:]}
        differ = one != two
        worst = min(dice, key=lambda number: dice[number])
        print(
            f"{path.name}: {differ.mean():.2e} of all voxels differ, {differ[one > 0].mean():.2e} of the labelled; "
            f"Dice of structures {np.mean(list(dice.values())):.5f}, least {dice[worst]:.5f} (class {worst})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
