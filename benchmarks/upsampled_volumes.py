"""How well volumes of structures are kept by `lodbrain labels upsample`.

    lodbrain labels upsample MAP... --voxel-size 0.5 -o fine
    python benchmarks/upsampled_volumes.py fine/*.json

Prints, for each sidecar, how many structures are above 500 mm3 and the largest change of volume among them, of the
structures in lodbrain's table and of all labels; and the largest among the smaller ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lodbrain.labelmaps.upsample import LEAST_VOLUME_MM3
from lodbrain.labels import CLASS_OF_INDEX


def line(volumes: list[dict[str, Any]]) -> str:
    """Count, largest change, and where."""
    if not volumes:
        return "none"
    worst = max(volumes, key=_change)
    where = f"label {worst['index']}, {worst['before_mm3']:.0f} mm3"
    return f"{len(volumes):3d}, largest change {_change(worst):.2%} ({where})"


def _change(volume: dict[str, Any]) -> float:
    return abs(float(volume["after_mm3"]) / float(volume["before_mm3"]) - 1)


def main() -> None:
    """Print three lines for each sidecar."""
    for path in map(Path, sys.argv[1:]):
        content = json.loads(path.read_text(encoding="utf-8"))
        large = [row for row in content["volumes"] if row["before_mm3"] > LEAST_VOLUME_MM3]
        small = [row for row in content["volumes"] if row["before_mm3"] <= LEAST_VOLUME_MM3]
        print(f"{path.name}, {content['voxel_size_mm']:g} mm")
        print(
            f"  structures above {LEAST_VOLUME_MM3:g} mm3: {line([r for r in large if r['index'] in CLASS_OF_INDEX])}"
        )
        print(f"  all labels above it:         {line(large)}")
        print(f"  labels below it:             {line(small)}")


if __name__ == "__main__":
    main()
