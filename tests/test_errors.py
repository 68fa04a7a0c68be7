import pickle

import pytest

from lodbrain.errors import InputError, LodbrainError, OutputError, UsageError, WeightsError


@pytest.mark.parametrize(
    ("kind", "status"), [(LodbrainError, 70), (UsageError, 2), (InputError, 4), (WeightsError, 5), (OutputError, 6)]
)
def test_class_decides_the_exit_status(kind: type[LodbrainError], status: int) -> None:
    assert kind("code", None, "what").exit_code == status


def test_line_says_which_file_what_and_what_to_do() -> None:
    error = InputError("truncated", "a/b.nii.gz", "ends too early", "Copy it again")
    assert str(error) == "a/b.nii.gz: ends too early. Copy it again"
    assert (error.code, error.path) == ("truncated", "a/b.nii.gz")


def test_line_without_path_and_hint_is_what_alone() -> None:
    assert str(UsageError("same-stem", None, "two inputs of one name")) == "two inputs of one name"


def test_line_is_one_line() -> None:
    assert str(InputError("odd", "x\ny.nii", "one\n  two", "three\tfour")) == "x y.nii: one two. three four"


def test_error_crosses_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(WeightsError("sha256", "m.safetensors", "is not the published file", "Get it")))
    assert type(error) is WeightsError
    assert (error.code, error.path, error.what, error.hint, str(error)) == (
        "sha256",
        "m.safetensors",
        "is not the published file",
        "Get it",
        "m.safetensors: is not the published file. Get it",
    )
