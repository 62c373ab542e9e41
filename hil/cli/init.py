"""``hil init``: the first files of a team's own repository. What is there already is kept, and said."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from hil import resources
from hil.cli.options import one_message
from hil.errors import UsageError

STARTER = Path(__file__).with_name("starter")
PLACEHOLDER = "starter"  # stands for the application's name in the files and their paths
SETTINGS = "pyproject.toml"
TABLE = """\
[tool.hil]
rig = "rigs/virtual.toml"      # the boards; on a bench: pytest --rig rigs/bench.toml
applications = ["firmware"]    # folders with <application>/twin.py, for virtual boards
app = "starter"                # what boards run for tests that name no application
"""
IGNORED = (".hil/", "reports/")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file."""

    done: str
    path: Path
    remark: str = ""

    def __str__(self) -> str:
        return f"{self.done:<6} {self.path}" + (f"   ({self.remark})" if self.remark else "")


@click.command(name="init")
@click.option("--app", "name", metavar="NAME", help="The application. [default: named like the directory]")
@click.argument("directory", default=".", type=click.Path(path_type=Path, file_okay=False))
def command(directory: Path, name: str | None) -> None:
    """Write a team's first files into DIRECTORY: a suite, an application, rig files, settings, a line for CI.

    The application is one for virtual boards (twin.py) and for real ones (C++). Nothing that is there already is
    overwritten; a second run changes nothing.

    \b
    Examples: hil init
              hil init --app greenhouse ~/garden
    """
    with one_message():
        application = checked_name(name or name_from(directory.resolve().name))
        for outcome in write_files(directory, application):
            click.echo(str(outcome))
    click.echo(f"\nnext: {'' if directory == Path() else f'cd {directory} && '}hil rack run -- pytest")


def name_from(text: str) -> str:
    """``text`` as the name of an application: ``"Green House 2"`` gives ``green_house_2``."""
    words = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:28].rstrip("_")
    if not words:
        return "app"
    return words if words[0].isalpha() else f"app_{words}"


def checked_name(name: str) -> str:
    """``name``, if an application can be called so. Raises ``UsageError``."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"an application cannot be called {name!r}",
            expected="up to 32 letters, digits and _, a letter first",
        )
    taken = sorted(path.parent.name for path in resources.folder("firmware").glob("*/twin.py"))
    if name in taken:
        raise UsageError(
            f"an application called {name} comes with hil",
            expected=f"any other name than {', '.join(taken)}",
            hint="name it with --app NAME",
        )
    return name


def write_files(root: Path, name: str) -> Iterator[Outcome]:
    """Write what is not there yet, and say of each file what was done. Raises ``UsageError``."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield _settings(root / SETTINGS, TABLE.replace(PLACEHOLDER, name))
        yield _ignored(root / ".gitignore")
        for path, text in _files(name):
            yield _file(root / path, text)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}", found=str(error.strerror)) from error


def _files(name: str) -> Iterator[tuple[Path, str]]:
    yield Path("rigs/virtual.toml"), resources.virtual_rig().read_text()
    yield Path("rigs/bench.toml"), (resources.folder("rigs") / "example-bench.toml").read_text()
    for source in sorted(STARTER.rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            place = str(source.relative_to(STARTER)).replace("ci-run", ".ci/run")
            yield Path(place.replace(PLACEHOLDER, name)), source.read_text().replace(PLACEHOLDER, name)


def _file(path: Path, text: str) -> Outcome:
    if path.exists():
        return Outcome("kept", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if text.startswith("#!"):
        path.chmod(0o755)
    return Outcome("new", path)


def _settings(path: Path, table: str) -> Outcome:
    """``[tool.hil]``, at the end of a file that has none."""
    old = path.read_text() if path.exists() else ""
    try:
        if "hil" in tomllib.loads(old).get("tool", {}):
            return Outcome("kept", path, "it has [tool.hil]")
        new = f"{old.rstrip()}\n\n{table}" if old.strip() else table
        tomllib.loads(new)
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise UsageError(
            f"[tool.hil] cannot be added to {path}",
            found=str(error),
            hint=f"correct the file, or add:\n{table}",
        ) from error
    path.write_text(new)
    return Outcome("added" if old else "new", path, "[tool.hil]")


def _ignored(path: Path) -> Outcome:
    """The folders of runs, in ``.gitignore``."""
    old = path.read_text() if path.exists() else ""
    known = {line.strip().strip("/") for line in old.splitlines()}
    missing = [line for line in IGNORED if line.strip("/") not in known]
    if not missing:
        return Outcome("kept", path)
    path.write_text("\n".join([*old.splitlines(), *missing, ""]))
    return Outcome("added" if old else "new", path, ", ".join(missing))
