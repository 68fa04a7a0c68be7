"""Seconds for one synthetic pair of 160^3 voxels: lodbrain, TorchIO and cornucopia in one run.

    pip install torchio cornucopia     # for the comparison only
    python benchmarks/synthesis.py LABELMAP [--threads 2] [--rounds 5]

Steps: affine and elastic deformation, intensities, bias field, blur, lower resolution, noise. The three take turns, so
that whatever else the machine does hits all of them. lodbrain samples eight points in each voxel (partial volume), the
others one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from lodbrain.images.grid import to_ras
from lodbrain.images.io import read_labels
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.generator import GeneratorSettings, draw_plan, render
from lodbrain.synthesis.label_map import LabelMap, prepare
from lodbrain.synthesis.steps.background_noise import RandomBackground
from lodbrain.synthesis.steps.defacing import RandomDefacing
from lodbrain.synthesis.steps.ghosts import RandomGhosts
from lodbrain.synthesis.steps.lesions import RandomLesions
from lodbrain.synthesis.steps.motion import RandomMotion
from lodbrain.synthesis.steps.skull_stripping import RandomStripping
from lodbrain.synthesis.steps.thick_slices import RandomSlices
from lodbrain.synthesis.steps.ventricles import RandomVentricles
from lodbrain.synthesis.steps.wrap import RandomWrap

SIDE = 160


def ours(labels: LabelMap, supersample: int) -> Callable[[int], object]:
    """lodbrain: the steps that the others have, each in every scan."""
    settings = GeneratorSettings(
        uhf_share=0.0,
        wrap=RandomWrap(0.0),
        slices=RandomSlices(1.0),
        motion=RandomMotion(0.0),
        ghosts=RandomGhosts(0.0),
        lesions=RandomLesions(0.0),
        ventricles=RandomVentricles(0.0),
        background=RandomBackground(0.0, 0.0, 0.0),
        stripping=RandomStripping(0.0),
        defacing=RandomDefacing(0.0),
    )
    grid = Grid((SIDE,) * 3, (1.0,) * 3, (-SIDE / 2,) * 3)

    def pair(seed: int) -> object:
        plan = draw_plan(labels, settings, torch.Generator().manual_seed(seed))
        return render(plan, labels, grid, supersample=supersample, target="classes")

    return pair


def torchio(volume: torch.Tensor) -> Callable[[int], object]:
    """TorchIO with its own ranges."""
    import torchio as tio

    steps = tio.Compose(
        [
            tio.RandomAffine(image_interpolation="nearest"),
            tio.RandomElasticDeformation(image_interpolation="nearest"),
            tio.RandomLabelsToImage(label_key="label", image_key="image"),
            tio.RandomBiasField(),
            tio.RandomBlur(),
            tio.RandomAnisotropy(),
            tio.RandomNoise(std=(0, 5)),
        ]
    )

    def pair(seed: int) -> object:
        torch.manual_seed(seed)
        return steps(tio.Subject(label=tio.LabelMap(tensor=volume)))

    return pair


def cornucopia(volume: torch.Tensor) -> Callable[[int], object]:
    """SynthFromLabelTransform of cornucopia with its own ranges."""
    import cornucopia as cc

    steps = cc.SynthFromLabelTransform()

    def pair(seed: int) -> object:
        torch.manual_seed(seed)
        return steps(volume)

    return pair


def main() -> None:
    """Print the median of all rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelmap")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", nargs="*", default=[], choices=["torchio", "cornucopia"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    image = read_labels(options.labelmap)
    labels, raw = prepare(image), torch.from_numpy(to_ras(image)[0].data.astype("int16"))
    start = [max(0, (n - SIDE) // 2) for n in raw.shape]
    x, y, z = (slice(s, s + SIDE) for s in start)
    volume = torch.unique(raw[x, y, z], return_inverse=True)[1].to(torch.int16)[None]
    ways = {"lodbrain, 8 samples a voxel": ours(labels, 2), "lodbrain, 1 sample a voxel": ours(labels, 1)}
    if "torchio" not in options.without:
        ways["TorchIO"] = torchio(volume)
    if "cornucopia" not in options.without:
        ways["cornucopia"] = cornucopia(volume)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, options.rounds):  # the first is not counted
        for name, pair in ways.items():
            if name == "cornucopia" and number > 0:
                continue  # one is enough of what takes so long
            begin = time.perf_counter()
            pair(number + 1)
            took = time.perf_counter() - begin
            print(f"{name}: {took:.2f} s{'' if number >= 0 else ' (first)'}", flush=True)
            if number >= 0:
                seconds[name].append(took)
    print(f"{SIDE}^3, {options.threads} threads, torch {torch.__version__}; median (of {options.rounds} rounds)")
    for name, each in seconds.items():
        print(f"{name:28s} {statistics.median(each):6.2f} s   {min(each):.2f} to {max(each):.2f}, n = {len(each)}")


if __name__ == "__main__":
    main()
