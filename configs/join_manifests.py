"""Manifests of several teacher folders, joined into one to train on and one that is held out.

    python configs/join_manifests.py runs/teacher -o runs/teacher

RUNS holds a folder with `manifest.csv` for each data set, as `lodbrain labels make --teacher` writes it. Every tenth
scan of each site, in the order of its names, goes to `held-out.csv`, the others to `train.csv`. With --contrasts T2w
FLAIR there is also `train-any.csv`, in which those scans of the same heads have the labels of the T1w scan, if they are
on its grid. With --repeat ds000011=3 the training scans of that site stand in the lists three times, and are drawn
three times as often.
"""

import argparse
import csv
import os
import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from lodbrain.datasets.labelled import COLUMNS, Labelled, read_manifest
from lodbrain.images.io import read_image

#: One scan in so many is held out.
EVERY = 10


def main() -> int:
    """Read the manifests and write the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--contrasts", nargs="+", default=[], help="such as T2w: scans beside the T1w scans")
    parser.add_argument("--repeat", nargs="+", default=[], metavar="SITE=N", help="sites drawn N times as often")
    asked = parser.parse_args()
    found = [row for path in sorted(asked.runs.glob("*/manifest.csv")) for row in read_manifest(path)]
    train, held = split(found)
    times = {site: int(number) for site, number in (each.split("=") for each in asked.repeat)}
    train = [row for row in train for _ in range(times.get(row.site, 1))]
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.contrasts:
        write(asked.out / "train-any.csv", [*train, *other_contrasts(train, asked.contrasts)])
    write(asked.out / "train.csv", train)
    write(asked.out / "held-out.csv", held)
    return 0


def split(rows: list[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    """Scans to train on, and every tenth of each site, which are held out; sites with fewer are trained on whole."""
    train: list[Labelled] = []
    held: list[Labelled] = []
    for _, site in groupby(sorted(rows, key=lambda row: (row.site, row.volume.name)), key=lambda row: row.site):
        for number, row in enumerate(site, 1):
            (held if number % EVERY == 0 else train).append(row)
    return train, held


def other_contrasts(rows: list[Labelled], suffixes: list[str]) -> list[Labelled]:
    """Scans of the same heads in other contrasts, on the grid of the T1w scan, with its labels."""
    found = []
    for row in rows:
        for suffix in suffixes:
            path = row.volume.with_name(row.volume.name.replace("T1w", suffix))
            if path == row.volume or not path.exists():
                continue
            one, other = read_image(row.volume), read_image(path)
            if one.shape == other.shape and np.allclose(one.affine, other.affine, atol=1e-3):
                found.append(replace(row, volume=path))
    return found


def write(path: Path, rows: list[Labelled]) -> None:
    """Write a manifest with paths relative to its folder."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow(
                [os.path.relpath(row.volume, path.parent), os.path.relpath(row.labels, path.parent), row.site]
            )


if __name__ == "__main__":
    sys.exit(main())
