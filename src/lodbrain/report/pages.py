"""From templates to pages: one file each, which needs nothing else and can reach nothing else."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from lodbrain.version import __version__

MINUS = "\u2212"

#: The folder of templates, style and scripts, and the viewer's.
_PAGES, _VIEWER = "report", "viewer"


def render(template: str, *, scripts: tuple[str, ...], data: object = None, viewer: bool = False, **values: Any) -> str:
    """Return a page.

    Parameters
    ----------
    template : str
        Its name, such as ``"scan.html"``.
    scripts : tuple of str
        Scripts of ours that the page runs. Only these, and the viewer, can run: the page's own security policy names
        them by their checksums, and forbids every connection.
    data : object
        What the scripts read, as JSON.
    viewer : bool
        Put NiiVue into the page.
    **values
        What the template shows; every text is escaped.
    """
    sources = [_text(_PAGES, name) for name in scripts]
    allowed = [*sources, *([_text(_VIEWER, "niivue.umd.js")] if viewer else [])]
    hashes = " ".join(f"'sha256-{_sha256(source)}'" for source in allowed)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; connect-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            style=Markup(_text(_PAGES, "style.css")),
            scripts=[Markup(source) for source in sources],
            data=None if data is None else Markup(_json(data)),
            viewer=Markup(_packed_viewer()) if viewer else None,
            version=__version__,
            **values,
        )
    )


@cache
def _environment() -> Environment:
    names = ("base.html", "scan.html", "group.html")
    environment = Environment(
        loader=DictLoader({name: _text(_PAGES, name) for name in names}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment


def number(value: float, digits: int = 1) -> str:
    """Format with a fixed number of decimals, thousands parted by thin spaces, and a true minus.

    Examples
    --------
    >>> number(1234.56), number(-0.3, 2)
    ('1\u202f234.6', '−0.30')
    """
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", MINUS)


def _json(data: object) -> str:
    r"""JSON that cannot end the element it is in: ``<`` is ``\u003c``, which means the same."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@cache
def _text(folder: str, name: str) -> str:
    return resources.files("lodbrain").joinpath("resources", folder, name).read_text(encoding="utf-8")


@cache
def _packed_viewer() -> str:
    """NiiVue, compressed for the page, which unpacks it: 2.3 MB become 1.1."""
    packed = gzip.compress(_text(_VIEWER, "niivue.umd.js").encode("utf-8"), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode("ascii")


@cache
def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
