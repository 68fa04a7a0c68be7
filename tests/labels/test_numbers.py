import numpy as np
import pytest

from lodbrain.labels.numbers import count_numbers, replace_numbers


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [((-32768, 7, 32767), np.int16), ((-128, 127), np.int8), ((3, 65535), np.uint16), ((-5, 2**40), np.int64)],
)
def test_full_range_of_a_type_is_counted_and_replaced(numbers: tuple[int, ...], dtype: type) -> None:
    labels = np.array([*numbers, numbers[-1]], dtype).reshape(-1, 1, 1)
    assert count_numbers(labels) == {number: 1 + (number == numbers[-1]) for number in numbers}
    new = {number: place + 1 for place, number in enumerate(numbers)}
    replaced = replace_numbers(labels, new, np.uint8)
    assert replaced.ravel().tolist() == [*range(1, len(numbers) + 1), len(numbers)]
    assert (replaced.dtype, replaced.shape) == (np.uint8, labels.shape)


def test_empty_map_has_no_numbers() -> None:
    empty = np.zeros((0, 2, 2), np.int16)
    assert count_numbers(empty) == {}
    assert replace_numbers(empty, {}, np.uint8).shape == (0, 2, 2)
