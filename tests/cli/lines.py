"""Command lines that people read in helps and documents, held against what the ``hil`` command takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import PurePath

import click

from hil.cli.main import main

# From the start of a line or after a label, up to a remark that stands apart.
_EXAMPLE = re.compile(r"(?:^|: |  )((?:sudo )?hil(?: \S+)+)", re.MULTILINE)


def examples(text: str) -> list[str]:
    """The lines of ``text`` that call ``hil``, without labels before and remarks behind."""
    return _EXAMPLE.findall(text)


def parse(line: str) -> click.Context:
    """Read a line ``hil ...`` as far as the command would before it does anything.

    Raises ``click.UsageError`` for one that the command would not take, a subcommand that is left out included.
    """
    words = shlex.split(line, comments=True)
    if words[0] == "sudo":
        words = words[1:]
    assert PurePath(words[0]).name == "hil", f"this calls something else: {line}"
    context = main.make_context("hil", words[1:])
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest:
            break  # `hil cloud` is a command itself; click refuses the others
        name, command, arguments = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, arguments, parent=context)
    return context


def commands(command: click.Command = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names that lead to each subcommand, ``()`` for ``hil`` itself."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))
