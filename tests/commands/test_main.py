import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from cyclopts import App

from lodbrain import __version__, commands
from lodbrain.errors import InputError, OutputError, UsageError, WeightsError


def command_that(action: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `action` what ``lodbrain segment`` does."""
    app = App(name="lodbrain", suppress_keyboard_interrupt=False)

    @app.command
    def segment(*, threads: int = 1) -> object:
        return action()

    monkeypatch.setattr(commands, "app", app)


def raiser(error: BaseException) -> Callable[[], object]:
    def action() -> object:
        raise error

    return action


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lodbrain {__version__}\n"


def test_help_lists_every_command_and_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "not a medical device" in out
    assert all(f" {name} " in out for name in commands.COMMANDS)
    places = [out.index(f"╭─ {title} ─") for title in ("Segment", "Evaluate", "Train", "Data")]
    assert places == sorted(places)


def test_a_command_s_own_help_says_what_it_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["segment", "--help"]) == 0
    assert "NAME_volumes.tsv (mm^3)" in capsys.readouterr().out


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (3, 3), (4, 4)])
def test_what_a_command_returns_is_the_exit_status(
    result: object, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_that(lambda: result, monkeypatch)
    assert commands.main(["segment"]) == status


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UsageError("same-stem", None, "two inputs of one name"), 2, "lodbrain: two inputs of one name"),
        (InputError("empty", "a.nii", "is empty", "Copy it"), 4, "lodbrain: a.nii: is empty. Copy it"),
        (WeightsError("sha256", "m", "is another file"), 5, "lodbrain: m: is another file"),
        (OutputError("full", "out", "the disk is full"), 6, "lodbrain: out: the disk is full"),
        (KeyboardInterrupt(), 130, "lodbrain: interrupted; nothing half-written was left behind"),
        (
            RuntimeError("two\nlines"),
            70,
            "lodbrain: internal error: RuntimeError: two lines. This is a bug: please report it, with what "
            "LODBRAIN_DEBUG=1 adds to this line",
        ),
    ],
)
def test_an_error_is_one_line_and_its_exit_status(
    error: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("LODBRAIN_DEBUG", raising=False)
    command_that(raiser(error), monkeypatch)
    assert commands.main(["segment"]) == status
    assert capsys.readouterr() == ("", line + "\n")


def test_debug_adds_the_traceback_before_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LODBRAIN_DEBUG", "1")
    command_that(raiser(InputError("empty", "a.nii", "is empty")), monkeypatch)
    assert commands.main(["segment"]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "lodbrain: a.nii: is empty"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["segment", "--threads", "many"], '"many"'),
        (["segment", "--no-such-option"], "--no-such-option"),
        (["segmnet"], "segmnet"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(lambda: None, monkeypatch)
    assert commands.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("lodbrain: ")
    assert said in err
    assert err.endswith("--help\n")


def test_an_unknown_command_names_the_nearest_and_imports_none() -> None:
    code = (
        "import sys\nfrom lodbrain.commands import main\nstatus = main(['segmnet', 'a.nii'])\n"
        "print('torch' in sys.modules)\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr == "lodbrain: there is no command 'segmnet'. Did you mean 'segment'? See: lodbrain --help\n"


def test_segmenting_imports_neither_scipy_nor_the_progress_bar_before_it_needs_them() -> None:
    code = (
        "import sys\nimport lodbrain.commands.segment\nimport lodbrain.segmentation.file_segmentation\n"
        "print([name for name in ('torch', 'scipy.ndimage', 'rich.progress', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_missing_extra_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(raiser(ModuleNotFoundError("No module named 'yaml'", name="yaml")), monkeypatch)
    assert commands.main(["segment"]) == 2
    assert (
        capsys.readouterr().err
        == "lodbrain: this needs yaml. In the checkout of lodbrain, run: pip install '.[train]'\n"
    )


def test_a_missing_module_of_our_own_is_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(raiser(ModuleNotFoundError("No module named 'lodbrain.gone'", name="lodbrain.gone")), monkeypatch)
    assert commands.main(["segment"]) == 70
    assert "internal error: ModuleNotFoundError" in capsys.readouterr().err


def test_process_ends_with_the_status_of_main() -> None:
    done = subprocess.run([sys.executable, "-m", "lodbrain", "no-such-command"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lodbrain: ")
    assert done.stderr.count("\n") == 1


SLEEPER = """
import signal, sys, time
from cyclopts import App
from lodbrain import commands

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
commands.app = App(suppress_keyboard_interrupt=False)

@commands.app.command
def sleep():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

sys.exit(commands.main(["sleep"]))
"""


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_cleans_up_and_ends_with_its_status(number: signal.Signals, status: int, word: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (status, "cleaned up\n")
    assert err == f"lodbrain: {word}; nothing half-written was left behind\n"


def test_a_signal_that_broke_a_library_is_still_told_as_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def struck() -> None:
        try:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            finally:  # such as the end of a context manager that had not quite begun
                [].pop()
        except IndexError as error:
            raise WeightsError("card", None, "the card fits no network") from error

    command_that(struck, monkeypatch)
    assert commands.main(["segment"]) == 143
    assert capsys.readouterr().err == "lodbrain: terminated; nothing half-written was left behind\n"


def test_sigterms_handler_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    during: list[object] = []
    command_that(lambda: during.append(signal.getsignal(signal.SIGTERM)), monkeypatch)
    assert commands.main(["segment"]) == 0
    assert during[0] is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_main_works_in_a_thread_where_signals_cannot_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(lambda: 3, monkeypatch)
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(commands.main(["segment"])))
    thread.start()
    thread.join()
    assert status == [3]


PRINTS = """
import sys
from cyclopts import App
from lodbrain import commands

commands.app = App()

@commands.app.command
def talk():
    for i in range(100_000):
        print("line", i)

sys.exit(commands.main(["talk"]))
"""


@pytest.mark.parametrize("command", [["-c", PRINTS], ["-m", "lodbrain", "--help"]], ids=["print", "rich"])
def test_a_reader_that_has_gone_is_no_error(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, *command], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["--version"], ["--help"], ["models", "list"]])
def test_standard_output_on_a_full_disk_is_6_and_no_bug(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lodbrain", *words], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 6
    assert done.stderr == ("lodbrain: standard output cannot be written (No space left on device). Free some space\n")


def test_a_closed_standard_output_is_no_error() -> None:
    done = subprocess.run(f"{sys.executable} -m lodbrain --version >&-", shell=True, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("locale", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}])
def test_names_that_are_not_utf_8_are_printed_in_any_locale(locale: dict[str, str]) -> None:
    command = [sys.executable.encode(), b"-m", b"lodbrain", b"segment", b"M\xfc.nii", b"-o", b"out"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **locale})
    assert (done.returncode, done.stdout) == (4, b"")
    assert done.stderr == b"lodbrain: M\\xfc.nii: there is no such file or folder. Check the spelling\n"
