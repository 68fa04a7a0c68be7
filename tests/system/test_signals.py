import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from lodbrain.segmentation.outputs import Outputs
from lodbrain.system.signals import uninterrupted


class Stopped(BaseException):
    pass


@pytest.fixture(autouse=True)
def stop_on_sigterm() -> Any:
    def handler(number: int, frame: Any) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, handler)
    yield
    signal.signal(signal.SIGTERM, before)


def test_signal_is_obeyed_after_the_block() -> None:
    done: list[str] = []
    with pytest.raises(Stopped), uninterrupted():
        signal.raise_signal(signal.SIGTERM)
        done.append("all of it")
    assert done == ["all of it"]
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGTERM)  # the handler is back


def test_other_threads_are_left_alone() -> None:
    def work() -> None:
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGTERM))

    seen: list[Any] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_sigterm_during_the_clean_up_leaves_no_hidden_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = shutil.rmtree

    def signalled(*args: Any, **options: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        remove(*args, **options)

    monkeypatch.setattr(shutil, "rmtree", signalled)
    with pytest.raises(Stopped), Outputs(tmp_path, "scan").claimed():
        pass
    assert list(tmp_path.iterdir()) == []


def test_sigterm_while_the_lock_is_taken_leaves_no_hidden_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.open

    def signalled(*args: Any, **options: Any) -> int:
        monkeypatch.undo()  # once
        signal.raise_signal(signal.SIGTERM)
        return make(*args, **options)

    monkeypatch.setattr(os, "open", signalled)
    with pytest.raises(Stopped), Outputs(tmp_path, "scan").claimed():
        pytest.fail("it must not begin")
    assert list(tmp_path.iterdir()) == []


def test_sigterm_between_two_renames_finishes_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, rename = Outputs(tmp_path, "scan"), os.replace

    def signalled(source: Any, target: Any) -> None:
        rename(source, target)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(os, "replace", signalled)
    with pytest.raises(Stopped), outputs.claimed() as work:
        for path in (outputs.labels, outputs.table, outputs.volumes, outputs.sidecar):
            outputs.staged(work, path).write_text("new")
        outputs.publish(work)
    assert len(outputs.existing()) == 4 == len(list(tmp_path.iterdir()))
