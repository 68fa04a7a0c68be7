"""Command groups whose members are imported when they are called."""

from __future__ import annotations

from cyclopts import App


class LazyApp(App):
    """Commands given as import paths: the list shows their summaries, a command's own page its whole docstring."""

    def __getitem__(self, key: str) -> App:
        """Return a command, imported now, without the summary, which would hide its docstring."""
        command = super().__getitem__(key)
        if command.default_command is not None and not key.startswith("-"):
            command.help = None
        return command
