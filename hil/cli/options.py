"""What subcommands share: options whose help says what they are by default here, and one message for an error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from hil.errors import HilError, Signal, UsageError
from hil.rig.project import find_project, shown
from hil.rig.rigfile import ENVIRONMENT, find_rig

_Function = TypeVar("_Function", bound=Callable[..., Any])
ASK = "-"  # as the value of a password: ask for it
_CALLERS_MISTAKE = 2  # exit status, as for a wrong option


class Refusal(click.ClickException, Signal):
    """An error of the harness as one message. Exit status 2 for the caller's own mistake, else 1."""

    def __init__(self, error: HilError) -> None:
        super().__init__(str(error))
        self._status = _CALLERS_MISTAKE if isinstance(error, UsageError) else 1

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click has it on the class
        return self._status


@contextmanager
def one_message() -> Iterator[None]:
    """Errors of the harness inside the block end the command with one message and no traceback."""
    try:
        yield
    except HilError as error:
        raise Refusal(error) from error


def asked_password(user: str) -> str:
    """The password of ``user``: typed twice, unseen, or the first line of what stdin is."""
    if sys.stdin.isatty():
        return str(click.prompt(f"Password of {user}", hide_input=True, confirmation_prompt=True, err=True))
    given = sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise click.UsageError("no password on stdin")
    return given


class PathOption(click.Option):
    """A path that depends on the project when it is not given: ``fallback`` finds it, and the help shows it."""

    def __init__(self, *arguments: Any, fallback: Callable[[], Path], **settings: Any) -> None:
        super().__init__(*arguments, default=self._default, **settings)
        self._fallback = fallback

    def _default(self) -> Path:
        with one_message():
            return self._fallback()

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0], f"{record[1]}  [default: {shown(self._default())}]")


def rig_option(purpose: str) -> Callable[[_Function], _Function]:
    """``--rig``. The command gets the rig file to use."""
    return click.option(
        "--rig",
        cls=PathOption,
        fallback=find_rig,
        type=click.Path(path_type=Path),
        help=f"{purpose} Unless given: ${ENVIRONMENT}, [tool.hil] rig in pyproject.toml, the rig that comes with hil.",
    )


def state_option(name: str, purpose: str) -> Callable[[_Function], _Function]:
    """``--state``: a directory below the project's root."""
    return click.option(
        "--state",
        cls=PathOption,
        fallback=lambda: find_project().state(name),
        type=click.Path(path_type=Path, file_okay=False),
        help=purpose,
    )


def was_typed(context: click.Context, option: str) -> bool:
    """Whether the command line has this option."""
    return context.get_parameter_source(option) is not click.core.ParameterSource.DEFAULT


def rig_was_named(context: click.Context) -> bool:
    """Whether anybody chose the rig: it is not just the one that comes with hil."""
    return was_typed(context, "rig") or ENVIRONMENT in os.environ or find_project().rig is not None
