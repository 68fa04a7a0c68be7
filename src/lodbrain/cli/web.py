"""`lodbrain web`: the page that segments scans in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lodbrain.cli.switches import Flag
from lodbrain.workflows.web import build_page, make_server


def web(
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("lodbrain-web"),
    model: str = "default",
    serve: Flag = False,
    port: int = 8000,
) -> int:
    """Build the page that segments scans in a browser, for any web server; no scan leaves the visitor's computer.

    The page is built from the checkout with npm (Node.js 20 or newer), which installs its pinned packages once.

    Parameters
    ----------
    out
        Folder for the page; an earlier page in it is replaced.
    model
        A name that `lodbrain models list` shows, or a model file. It must be a ladder.
    serve
        Serve the page on this computer only, until Ctrl-C.
    port
        Port to serve it on; 0 for any that is free.
    """
    page = build_page(out, model)
    print(page)
    if serve:
        with make_server(out, port) as server:
            print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
            server.serve_forever()
    return 0
