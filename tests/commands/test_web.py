"""What of the page needs no browser: where it is built from, its headers, and the vectors of its tests."""

import json
import shutil
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import web_vectors

from lodbrain.commands import main, web
from lodbrain.errors import UsageError


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A folder with the page as it is in the sources, and a file beside it."""
    shutil.copy(web.SOURCE / "index.html", tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "x-0123.wasm").write_bytes(b"\0asm")
    return tmp_path


def test_the_loopback_server_sends_what_threads_and_safety_need(page: Path) -> None:
    with web.make_server(page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert server.server_address[0] == "127.0.0.1"
        answers = [
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{path}", timeout=10)
            for path in ("", "assets/x-0123.wasm")
        ]
        server.shutdown()
    for answer in answers:
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "connect-src 'self'", "worker-src blob:", "frame-ancestors 'none'"} <= set(policy)
        assert "unsafe-eval" not in " ".join(policy).replace("wasm-unsafe-eval", "")
        answer.close()
    assert [answer.headers["Content-Type"] for answer in answers] == ["text/html", "application/wasm"]
    assert "immutable" in answers[1].headers["Cache-Control"] and "no-cache" in answers[0].headers["Cache-Control"]


def test_a_port_in_use_is_told_in_one_line(page: Path) -> None:
    with web.make_server(page) as server, pytest.raises(UsageError, match="cannot be used"):
        web.make_server(page, server.server_port)


def test_without_a_checkout_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(web, "SOURCE", tmp_path / "web")
    assert main(["web", "-o", str(tmp_path / "out")]) == 2
    assert "not part of the installed package" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_npm_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["web", "-o", str(tmp_path / "out")]) == 2
    assert "npm, which builds the page, was not found. Install Node.js 20 or newer" in capsys.readouterr().err


def test_the_vectors_of_the_page_s_tests_are_what_the_code_gives_now() -> None:
    stored = json.loads(web_vectors.PATH.read_text(encoding="utf-8"))
    _same(json.loads(json.dumps(web_vectors.make())), stored, "vectors")


def _same(found: Any, stored: Any, where: str) -> None:
    """Equal, but for what another processor rounds otherwise."""
    if isinstance(stored, dict):
        assert found.keys() == stored.keys(), where
        for key in stored:
            if key != "version":  # a release changes no vector
                _same(found[key], stored[key], f"{where}.{key}")
    elif isinstance(stored, list):
        assert len(found) == len(stored), where
        for number, (one, other) in enumerate(zip(found, stored, strict=True)):
            _same(one, other, f"{where}[{number}]")
    elif isinstance(stored, float):
        assert found == pytest.approx(stored, rel=1e-5, abs=1e-6), where
    else:
        assert found == stored, where
