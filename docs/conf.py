"""The site: `make docs`. MyST Markdown; the commands' help and the Python reference are made at build time."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from cyclopts import App
from rich.console import Console

import lodbrain
from lodbrain.commands import app as command_line
from lodbrain.labels import STRUCTURES, TISSUES

HERE = Path(__file__).parent

project = "lodbrain"
copyright = "The lodbrain developers"
version = release = lodbrain.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
# Names in single backquotes are code, as numpydoc has it.
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_use_rtype = False
napoleon_preprocess_types = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"lodbrain {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
# Nothing is fetched from elsewhere when a page is read.
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1b6a70", "color-brand-content": "#1b6a70"},
    "dark_css_variables": {"color-brand-primary": "#74c5ca", "color-brand-content": "#74c5ca"},
    "footer_icons": [],
}

#: Pages whose text is a file of the repository's top folder.
_OF_THE_TOP = {
    "reference/changelog": "CHANGELOG.md",
    "reference/contributing": "CONTRIBUTING.md",
    "reference/security": "SECURITY.md",
    "reference/third-party": "THIRD_PARTY.md",
}


def _fill(app: Any, name: str, source: list[str]) -> None:
    """Insert what the build generates: pages of the top folder, the label table, and the help of the commands."""
    if name in _OF_THE_TOP:
        source[0] = _moved((HERE.parent / _OF_THE_TOP[name]).read_text(encoding="utf-8"))
    elif name == "explanation/labels":
        source[0] = source[0].replace("@LABELS@", _label_table())
    elif name == "reference/command-line":
        source[0] = source[0].replace("@COMMANDS@", "\n\n".join(_help(command_line, ("lodbrain",))))


def _moved(text: str) -> str:
    """A file of the repository's top folder as a page of reference/: its links lead where they led."""
    page_of = {file: name.removeprefix("reference/") for name, file in _OF_THE_TOP.items()}
    for file, page in page_of.items():
        text = text.replace(f"]({file})", f"]({page}.md)")
    return re.sub(r"\]\(docs/([^)]+)\)", r"](../\1)", text)


def _label_table() -> str:
    """The structures as a table: left, right and midline numbers, and the tissue class that each is part of."""
    tissue = {label.index: label.name.replace("-", " ") for label in TISSUES if label.index}
    lines = ["| structure | left | right | tissue class |", "|---|---|---|---|"]
    for label in STRUCTURES[1:]:
        if label.side != "right":
            sides = (str(label.index), str(label.mirror)) if label.side else (f"{label.index}", "")
            name = label.name.removeprefix("Left-")
            part = f"{label.tissue} {tissue[label.tissue]}" if label.tissue else "none"
            lines.append(f"| {name} | {sides[0]} | {sides[1]} | {part} |")
    return "\n".join(lines)


def _help(app: App, words: tuple[str, ...]) -> list[str]:
    """A section for a command and those below it, with their help as the terminal shows it."""
    console = Console(file=io.StringIO(), width=96, force_terminal=False, color_system=None)
    app.help_print([], console=console)
    text = "\n".join(line.rstrip() for line in console.file.getvalue().strip().splitlines())  # type: ignore[attr-defined]
    sections = [f"{'#' * min(1 + len(words), 4)} {' '.join(words)}\n\n```text\n{text}\n```"]
    for name in app:
        if not name.startswith("-"):
            sections += _help(app[name], (*words, name))
    return sections


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
