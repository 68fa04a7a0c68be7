import pytest
import torch

from lodbrain.inference import precision
from lodbrain.inference.precision import working_dtype

CPU = torch.device("cpu")


def test_what_is_asked_for_is_taken() -> None:
    assert working_dtype("float32", CPU) == torch.float32
    assert working_dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_processor_decides_by_itself(has: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: has)
    assert working_dtype("auto", CPU) == dtype
    assert working_dtype("auto", torch.device("mps")) == torch.float32
