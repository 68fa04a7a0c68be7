"""The catalogue as the page docs/reference/trust.md: everything between its two markers is written from the table.

make trust-page
"""

from __future__ import annotations

from pathlib import Path

from trust_cases import CASES, CORRECTED, REFUSED, WARNED, Case

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "trust.md"
BEGIN, END = "<!-- begin of the table: make trust-page -->", "<!-- end of the table -->"

_CHAPTERS = {1: "The file", 18: "The data", 33: "The geometry", 44: "The system"}


def table() -> str:
    """The table as Markdown, one part for each chapter."""
    lines = []
    for case in CASES:
        if case.number in _CHAPTERS and case.key.strip("a") == str(case.number):
            lines += ["", f"### {_CHAPTERS[case.number]}", "", "| | what | answer | exit | it says, or the test |"]
            lines.append("|---|---|---|---|---|")
        lines.append(f"| {case.key} | {_plain(case.title)} | {case.verdict} | {_exit(case)} | {_words(case)} |")
    return "\n".join([*lines, ""])


def written(text: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _exit(case: Case) -> str:
    """4 is for a refused input that is the only one."""
    return "3 or 4" if case.exit == 4 else str(case.exit)


def _words(case: Case) -> str:
    if case.make is None:
        return f"`{case.shown.partition('::')[2]}`"
    if case.verdict in (REFUSED, CORRECTED, WARNED):
        return " … ".join(_plain(words) for words in case.says)
    return "the same labels as the plain file" if case.same else ""


def _plain(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "&#124;")


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
