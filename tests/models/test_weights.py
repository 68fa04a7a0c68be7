import json
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as to_safetensors

from lodbrain.errors import WeightsError
from lodbrain.models.lod_brain_2024 import LodBrain2024
from lodbrain.models.weights import fill, read_safetensors, refuse_pickle

FILE = Path("model.safetensors")
SMALL = to_safetensors({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}, {"lodbrain": "{}"})


def header(values: object, body: bytes = b"") -> bytes:
    text = json.dumps(values).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("head.bias", torch.zeros(6), r"holds head.bias as \(6,\); the network wants \(7,\)"),
        ("head.bias", torch.full((7,), torch.nan), "head.bias that are not finite"),
        ("extra", torch.zeros(1), "does not have: extra"),
        ("head.bias", torch.zeros(7, dtype=torch.int64), r"holds head\.bias as torch\.int64"),
        ("head.bias", torch.zeros(7).to(torch.float8_e4m3fn), r"holds head\.bias as torch\.float8_e4m3fn"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_the_tensor_named(
    lod_brain_2024: LodBrain2024, name: str, value: torch.Tensor, said: str
) -> None:
    with pytest.raises(WeightsError, match=said):
        fill(LodBrain2024(), {**lod_brain_2024.state_dict(), name: value}, FILE)


def test_safetensors_gives_tensors_and_metadata() -> None:
    tensors, metadata = read_safetensors(SMALL, FILE)
    assert tensors["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert metadata == {"lodbrain": "{}"}


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        SMALL[:-1],
        SMALL + b"\0",
        (2**40).to_bytes(8, "little") + b"{}",
        (5 * 2**20).to_bytes(8, "little") + b" " * 6 * 2**20,
        header([1, 2]),
        header("text"),
        header({"a": {**ONE, "data_offsets": [0, 8]}}, bytes(8)),
        header({"a": {**ONE, "data_offsets": [4, 8]}}, bytes(8)),
        header({"a": {**ONE, "shape": [2**62]}}, bytes(4)),
        header({"a": {**ONE, "shape": [-1]}}, bytes(4)),
        header({"a": {**ONE, "dtype": "PICKLE"}}, bytes(4)),
        header({"a": ONE, "b": ONE}, bytes(4)),
        header({"a": ONE, "__metadata__": {"lodbrain": 1}}, bytes(4)),
        (3).to_bytes(8, "little") + b"\xff\xfe{",
        (10000).to_bytes(8, "little") + b"[" * 10000,
    ],
)
def test_implausible_safetensors_is_refused(data: bytes) -> None:
    with pytest.raises(WeightsError, match="not a safetensors file") as caught:
        read_safetensors(data, FILE)
    assert caught.value.code == "format"


@given(st.integers(0, len(SMALL) - 1), st.integers(0, 255))
def test_changed_byte_is_refused_or_read_without_another_error(position: int, value: int) -> None:
    data = bytearray(SMALL)
    data[position] = value
    try:
        tensors, _ = read_safetensors(bytes(data), FILE)
    except WeightsError as error:
        assert error.code == "format"
    else:
        assert sum(tensor.nbytes for tensor in tensors.values()) == 28


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.ckpt", "m.pkl", "M.PTH"])
def test_pickle_by_name_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="can run any code") as caught:
        refuse_pickle(Path(name), SMALL)
    assert caught.value.code == "pickle"


def test_pickle_by_content_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    for data in (pickle.dumps({"a": 1}), (tmp_path / "model.safetensors").read_bytes()):
        with pytest.raises(WeightsError) as caught:
            refuse_pickle(FILE, data)
        assert caught.value.code == "pickle"


def test_safetensors_whose_header_has_128_bytes_is_no_pickle() -> None:
    data = header({"a": ONE, "__metadata__": {"x": "y" * 40}}, bytes(4))
    assert data[0] == 0x80
    refuse_pickle(FILE, data)


@pytest.mark.parametrize("name", ["m.h5", "m.onnx", "m"])
def test_other_formats_are_refused(name: str) -> None:
    with pytest.raises(WeightsError) as caught:
        refuse_pickle(Path(name), SMALL)
    assert caught.value.code == "format"
