from collections.abc import Callable

import numpy as np
import pytest
import torch

from lodbrain.inference.fallback import SMALLER_TILES, run_with_fallback
from lodbrain.inference.prediction import Options, Prediction

GPU = Options(device="cuda:0", memory_bytes=10**9)


def _prediction() -> Prediction:
    return Prediction(np.zeros((2, 2, 2), np.uint8), np.zeros(33), notes=("first",))


def _machine(
    fits: Callable[[Options], bool], error: Exception
) -> tuple[list[Options], Callable[[Options], Prediction]]:
    """What was tried, and a run that fails unless it fits."""
    tried: list[Options] = []

    def run(options: Options) -> Prediction:
        tried.append(options)
        if not fits(options):
            raise error
        return _prediction()

    return tried, run


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
]


def test_enough_memory_is_one_run_without_a_note() -> None:
    tried, run = _machine(lambda options: True, OUT_OF_MEMORY[0])
    assert run_with_fallback(run, GPU).notes == ("first",)
    assert tried == [GPU]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_gpu_out_of_memory_takes_smaller_tiles_and_says_so(error: Exception) -> None:
    tried, run = _machine(lambda options: (options.tile_voxels or 10**9) <= SMALLER_TILES[1], error)
    prediction = run_with_fallback(run, GPU)
    assert [options.tile_voxels for options in tried] == [None, *SMALLER_TILES]
    assert {options.device for options in tried} == {"cuda:0"}
    assert prediction.notes == ("first", "The memory of cuda:0 was not enough: it was run in smaller tiles.")


def test_gpu_too_small_for_any_tile_leaves_it_to_the_processor() -> None:
    tried, run = _machine(lambda options: options.device == "cpu", OUT_OF_MEMORY[0])
    prediction = run_with_fallback(run, GPU)
    assert tried[-1] == Options(device="cpu", memory_bytes=10**9)
    assert prediction.notes[-1] == "The memory of cuda:0 was not enough: it was run on the processor."


def test_tiles_are_never_made_larger_than_asked() -> None:
    asked = Options(device="cuda", tile_voxels=100**3)
    tried, run = _machine(lambda options: options.device == "cpu", OUT_OF_MEMORY[0])
    run_with_fallback(run, asked)
    assert [options.tile_voxels for options in tried] == [100**3, 64**3, 100**3]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
)
def test_processor_out_of_memory_is_a_memory_error(error: Exception) -> None:
    tried, run = _machine(lambda options: False, error)
    with pytest.raises(MemoryError):
        run_with_fallback(run, Options())
    assert len(tried) == 1


@pytest.mark.parametrize("options", [GPU, Options()])
def test_any_other_error_is_not_tried_again(options: Options) -> None:
    tried, run = _machine(lambda options: False, RuntimeError("sizes of tensors must match"))
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        run_with_fallback(run, options)
    assert len(tried) == 1
