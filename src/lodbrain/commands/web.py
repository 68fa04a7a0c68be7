"""`lodbrain web`: the page that segments scans in a browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lodbrain.commands.parameters import Flag, Out
from lodbrain.errors import OutputError, UsageError
from lodbrain.segmentation.onnx_export import export_onnx
from lodbrain.segmentation.outputs import check_writable


def web(
    *,
    out: Out = Path("lodbrain-web"),
    model: str = "default",
    serve: Flag = False,
    port: int = 8000,
) -> int:
    """Build the static page that segments scans in a browser; no scan leaves the visitor's computer.

    The page is built from the checkout with npm (Node.js 20 or newer), which installs its pinned packages once.

    Parameters
    ----------
    out
        Write the page to this folder; an earlier page in it is replaced.
    model
        Use this ladder: a name from `lodbrain models list`, or a model file.
    serve
        Serve the page on this computer only, until Ctrl-C.
    port
        Serve it on this port; 0 selects any free port.
    """
    page = build_page(out, model)
    print(page)
    if serve:
        with make_server(out, port) as server:
            print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
            server.serve_forever()
    return 0


#: The page's sources. They are part of a checkout, not of an installed package.
SOURCE = Path(__file__).resolve().parents[3] / "web"
PAGE = "index.html"
_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]+)"')


def build_page(folder: str | os.PathLike[str], model: str = "default") -> Path:
    """Build the page with a model's ladder into a folder for any web server, and return ``index.html``.

    Raises
    ------
    UsageError
        If this is no checkout, npm is not installed, or the model is not a ladder.
    OutputError
        If the folder cannot be written, or the page cannot be built.
    """
    out = Path(folder)
    npm, node = shutil.which("npm"), shutil.which("node")
    if not (SOURCE / "package.json").is_file():
        what = "the sources of the page are not part of the installed package"
        raise UsageError("checkout", SOURCE, what, "Run this in a checkout, installed with: pip install -e '.[onnx]'")
    if npm is None or node is None:
        hint = "Install Node.js 20 or newer, with npm"
        raise UsageError("npm", None, "npm, which builds the page, was not found", hint)
    check_writable(out)
    installed, wanted = SOURCE / "node_modules" / ".package-lock.json", SOURCE / "package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < wanted.stat().st_mtime:
        _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], out)
    with tempfile.TemporaryDirectory() as exported:
        export_onnx(model, exported)
        _run([node, "build.mjs", "--model", exported, "--out", str(out.resolve())], out)
    return out / PAGE


def make_server(folder: str | os.PathLike[str], port: int = 0) -> ThreadingHTTPServer:
    """Return a server of a built page on the loopback interface, not started yet; port 0 is any that is free.

    It sends the headers that let the page use several threads (COOP, COEP), and the page's own security policy.

    Raises
    ------
    UsageError
        If the port cannot be used.
    """
    page = (Path(folder) / PAGE).read_text(encoding="utf-8")
    policy = _POLICY.search(page)
    assert policy is not None  # the page is ours
    handler = partial(_Handler, directory=str(folder), policy=unescape(policy[1]))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        what = f"port {port} cannot be used ({error.strerror})"
        raise UsageError("port", None, what, "Choose another with --port") from error


class _Handler(SimpleHTTPRequestHandler):
    """Files of a folder, with the headers of the page."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript", ".wasm": "application/wasm"}

    def __init__(self, *args: object, directory: str, policy: str) -> None:
        self.policy = policy
        super().__init__(*args, directory=directory)  # type: ignore[arg-type]

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Content-Security-Policy", f"{self.policy}; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        hashed = self.path.startswith("/assets/")
        self.send_header("Cache-Control", "public, max-age=31536000, immutable" if hashed else "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: whoever serves sees the page."""


def _run(command: list[str], out: Path) -> None:
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        what = (
            f"the page could not be built: {Path(command[0]).name} {command[1]} failed ({words[-1] if words else '?'})"
        )
        raise OutputError("build", out, what, f"Run it by hand in {SOURCE}")
