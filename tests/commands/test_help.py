"""The help texts of all commands."""

import inspect
import re
from collections.abc import Iterator

import pytest
from cyclopts import App, Argument

from lodbrain.commands import app


def commands(parent: App, *words: str) -> Iterator[tuple[str, App]]:
    for name in parent:
        if not name.startswith("-"):
            child = parent[name]
            if child.default_command is None:
                yield from commands(child, *words, name)
            else:
                yield " ".join((*words, name)), child


COMMANDS = dict(commands(app))


def arguments(command: App) -> list[Argument]:
    """The arguments of a command, without the dataclasses that hold several options."""
    return [a for a in command.assemble_argument_collection(parse_docstring=True) if not a.children]


def test_all_commands_are_found() -> None:
    assert {"segment", "models export", "evaluate labels", "labels make"} <= COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_text_is_made_of_sentences(command: str) -> None:
    texts = {argument.name: argument.parameter.help or "" for argument in arguments(COMMANDS[command])}
    texts["the command itself"] = inspect.getdoc(COMMANDS[command].default_command) or ""
    assert {name: text for name, text in texts.items() if not re.fullmatch(r"[A-Z0-9].*\.", text, re.DOTALL)} == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_states_its_default(command: str) -> None:
    unstated = [
        argument.name
        for argument in arguments(COMMANDS[command])
        if not argument.required
        and not argument.show_default  # cyclopts prints it
        and not re.search(r"Default:\s|[Bb]y default|required without", argument.parameter.help or "")
    ]
    assert unstated == []
