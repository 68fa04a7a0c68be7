import gzip
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segmenting import segment_files

from lodbrain.images.io import read_image, read_labels
from lodbrain.labels import relabel
from lodbrain.models import zoo
from lodbrain.segmentation import file_segmentation as segment
from lodbrain.segmentation import read_ahead as readahead
from lodbrain.segmentation.read_ahead import ReadAhead, state_of
from lodbrain.segmentation.settings import Settings

WriteScan = Callable[..., Path]


def test_what_was_read_ahead_is_the_scan_and_can_be_taken_once(write_scan: WriteScan) -> None:
    path = write_scan()
    ahead, expected = ReadAhead(path, Settings()), read_image(path)
    layout = ahead.layout(state_of(path))
    assert layout is not None
    assert layout.shape == expected.shape
    image = ahead.take()
    np.testing.assert_array_equal(image.data, expected.data)
    np.testing.assert_array_equal(image.affine, expected.affine)
    assert ahead.layout(state_of(path)) is None


def test_the_first_scan_is_read_while_the_model_is_loaded(
    fake_model: Any, write_scan: WriteScan, classes: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, threads = threading.Event(), []

    def reads(path: Path, **options: Any) -> Any:
        threads.append(threading.current_thread())
        begun.set()
        return read_image(path, **options)

    def loads(name: str) -> Any:
        assert begun.wait(10)
        return fake_model.card(), None

    monkeypatch.setattr(readahead, "read_image", reads)
    monkeypatch.setattr(segment, "read_image", reads)
    monkeypatch.setattr(zoo, "load", loads)
    outcomes = segment_files([write_scan("in/one.nii.gz"), write_scan("in/two.nii.gz")], tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert len(threads) == 2
    assert threads[0] is not threading.main_thread()
    assert threads[1] is threading.main_thread()
    for outcome in outcomes:
        np.testing.assert_array_equal(read_labels(outcome.outputs.labels).data, relabel(classes.astype(int)))


def test_a_scan_that_changed_is_not_taken(write_scan: WriteScan) -> None:
    path = write_scan()
    ahead = ReadAhead(path, Settings())
    ahead._thread.join()
    path.write_bytes(path.read_bytes() + b"more")
    assert ahead.layout(state_of(path)) is None
    path.unlink()
    assert ReadAhead(path, Settings()).layout(state_of(path)) is None


def test_damage_is_reported_as_without_reading_ahead(fake_model: Any, write_scan: WriteScan, tmp_path: Path) -> None:
    path = write_scan()
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[: len(whole) // 2]))
    (outcome,) = segment_files([path], tmp_path / "out")
    assert outcome.error is not None
    assert outcome.error.code == "truncated"
    assert ReadAhead(path, Settings()).layout(state_of(path)) is None


def test_a_scan_of_more_than_a_quarter_of_the_budget_waits_for_its_plan(write_scan: WriteScan) -> None:
    path = write_scan()
    needed = 4 * 16 * 15 * 14
    assert ReadAhead(path, Settings(memory_bytes=4 * needed)).layout(state_of(path)) is not None
    assert ReadAhead(path, Settings(memory_bytes=4 * needed - 1)).layout(state_of(path)) is None


def test_nothing_is_read_ahead_where_a_complete_result_may_be_kept(
    fake_model: Any, write_scan: WriteScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_scan()
    segment_files([path], tmp_path / "out")
    monkeypatch.setattr(readahead, "read_image", lambda *_, **__: pytest.fail("was read"))
    monkeypatch.setattr(segment, "read_image", lambda *_, **__: pytest.fail("was read"))
    (outcome,) = segment_files([path], tmp_path / "out", Settings(resume=True))
    assert outcome.status == "skipped"
