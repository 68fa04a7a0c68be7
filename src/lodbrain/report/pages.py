"""Rendering of templates to self-contained HTML pages that cannot open connections."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from lodbrain.version import __version__

MINUS = "\u2212"

#: Folders of templates, style and scripts, and of the viewer.
_PAGES, _VIEWER = "report", "viewer"


def render(template: str, *, scripts: tuple[str, ...], data: object = None, viewer: bool = False, **values: Any) -> str:
    """Return a page as HTML; values of the template are escaped, `data` is JSON for the scripts.

    Only `scripts` and, with `viewer`, NiiVue can run: the page's content security policy lists their checksums and
    forbids all connections.
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


def render_static(template: str, **values: Any) -> str:
    """Return a page without scripts as HTML; all text except `Markup` is escaped."""
    return _environment().get_template(template).render(version=__version__, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(lambda name: _text(_PAGES, name)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment


def number(value: float, digits: int = 1) -> str:
    """Format a number with fixed decimals, thousands separated by thin spaces, and a true minus sign.

    Examples
    --------
    >>> number(1234.56), number(-0.3, 2)
    ('1\u202f234.6', '−0.30')
    """
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", MINUS)


def _json(data: object) -> str:
    r"""Return JSON that cannot close its HTML element: ``<`` is written as the equivalent ``\u003c``."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@cache
def _text(folder: str, name: str) -> str:
    return resources.files("lodbrain").joinpath("resources", folder, name).read_text(encoding="utf-8")


@cache
def _packed_viewer() -> str:
    """Return NiiVue, compressed from 2.3 to 1.1 MB; the page decompresses it."""
    packed = gzip.compress(_text(_VIEWER, "niivue.umd.js").encode("utf-8"), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode("ascii")


@cache
def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
