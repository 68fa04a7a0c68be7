"""Fallback when memory runs out: smaller tiles on the GPU, then the CPU, then a MemoryError."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch

from lodbrain.inference.brain_mask import BrainOdds
from lodbrain.inference.prediction import Options, Prediction

#: A result with notes.
Result = TypeVar("Result", Prediction, BrainOdds)

#: Voxels that a tile may read, tried in turn on a GPU that ran out of memory.
SMALLER_TILES = (128**3, 64**3)

#: Texts in out-of-memory errors of torch's allocators and the libraries below them; only CUDA's has its own class.
_GPU_WORDS = ("out of memory", "ALLOC_FAILED")
_HOST_WORDS = ("can't allocate memory", "not enough memory", "bad_alloc")


def run_with_fallback(run: Callable[[Options], Result], options: Options) -> Result:
    """Return the result; retry with smaller tiles and then on the CPU if the GPU's memory runs out.

    A note in the result reports the retry.

    Raises
    ------
    MemoryError
        If the CPU's memory is not enough.
    """
    first: str | None = None
    for tried, note in _attempts(options):
        result: Result
        try:
            result = run(tried)
        except (RuntimeError, MemoryError) as error:
            if tried.device == "cpu" and _is(error, _HOST_WORDS):
                raise MemoryError(str(error)) from error
            if tried.device == "cpu" or not _is(error, _GPU_WORDS):
                raise
            first = first or tried.device
        else:
            return result if not note else replace(result, notes=(*result.notes, note.format(first)))
        # Not inside `except`: there the traceback would keep the failed run's tensors alive.
        gc.collect()
        if tried.device.startswith("cuda") and torch.cuda.is_available():
            torch.cuda.empty_cache()
    raise AssertionError("the last attempt returns or raises")


def _attempts(options: Options) -> Iterator[tuple[Options, str]]:
    """Yield the options of each attempt, and its note; ``{}`` stands for the device that ran out of memory."""
    yield options, ""
    for voxels in SMALLER_TILES:
        if options.tile_voxels is None or options.tile_voxels > voxels:
            yield replace(options, tile_voxels=voxels), "The memory of {} was not enough: it was run in smaller tiles."
    yield replace(options, device="cpu"), "The memory of {} was not enough: it was run on the processor."


def _is(error: BaseException, words: tuple[str, ...]) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(word in str(error) for word in words)
