"""The import rules of ``docs/architecture.md``, held by a walk over every syntax tree; imports in functions count."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 600
BASE = ("hil.device", "hil.errors", "hil.__version__")

# What each room may import of this project, itself apart.
MAY: dict[str, tuple[str, ...]] = {
    "hil/device": BASE,
    "hil/wire": BASE,
    "hil/cloud": (*BASE, "hil.wire"),
    "hil/usb": BASE,
    "hil/netlab": BASE,
    "hil/rig": (*BASE, "hil.usb", "hil.netlab", "hil.wire", "hil.cloud.sync", "hil.cloud.config"),
    "hil/virtual": (*BASE, "hil.wire", "hil.netlab.topology", "hil.netlab.namespaces"),
    "hil/report": BASE,
    "hil/plugin": (*BASE, "hil.rig", "hil.cloud", "hil.netlab", "hil.report", "hil.wire"),
    "suites": (*BASE, "hil.netlab.scan"),
    "firmware": (*BASE, "hil.virtual.app.wiring", "hil.wire.messages"),
}
# The one file that joins rooms of the virtual rack with the network service.
ALSO = {"hil/virtual/launch/composition.py": ("hil.netlab.service",)}
NO_INPUT_OUTPUT = {
    *(
        "asyncio",
        "fcntl",
        "io",
        "logging",
        "mmap",
        "multiprocessing",
        "pathlib",
        "select",
        "selectors",
        "shutil",
    ),
    *("signal", "socket", "socketserver", "ssl", "subprocess", "tempfile", "threading", "time", "concurrent"),
}


@dataclass(frozen=True, slots=True)
class Import:
    """``name`` is the full name of what is imported, such as ``hil.wire.coap.message.Message``."""

    path: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.name}"

    def below(self, *names: str) -> bool:
        return any(self.name == name or self.name.startswith(f"{name}.") for name in names)


def sources(room: str) -> list[Path]:
    found = sorted((ROOT / room).rglob("*.py"))
    assert found, f"there is no {room}"
    return found


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file. A package without ``__init__`` names has none to hide behind."""
    place = path.relative_to(ROOT)
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(str(place), node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parents = place.with_suffix("").parts[: -node.level]
                module = ".".join([*parents, *([module] if module else [])])
            for alias in node.names:
                yield Import(str(place), node.lineno, f"{module}.{alias.name}")


def own(found: Import) -> bool:
    return found.name.partition(".")[0] in (
        "hil",
        "suites",
        "firmware",
        "tests",
        "benchmarks",
        "conftest",
    )


def offences(room: str) -> list[str]:
    return [
        str(found)
        for path in sources(room)
        for found in imports(path)
        if own(found) and not found.below(room.replace("/", "."), *MAY[room], *ALSO.get(found.path, ()))
    ]


@pytest.mark.parametrize("room", MAY)
def test_a_room_imports_only_what_the_architecture_lets_it(room: str) -> None:
    assert offences(room) == []


def test_every_room_is_under_the_rules() -> None:
    rooms = {f"hil/{path.name}" for path in (ROOT / "hil").iterdir() if (path / "__init__.py").exists()}
    assert rooms - {"hil/cli"} == {room for room in MAY if room.startswith("hil/")}


@pytest.mark.parametrize(
    "room", ["hil/usb", "hil/rig", "hil/netlab", "hil/cloud", "hil/report", "hil/plugin", "suites"]
)
def test_production_code_never_knows_a_virtual_board(room: str) -> None:
    text = [f"{path.relative_to(ROOT)}" for path in sources(room) if "hil.virtual" in path.read_text()]
    assert text == []


@pytest.mark.parametrize("name", ["device/families", "errors"])
def test_the_tables_at_the_bottom_import_nothing_of_the_project(name: str) -> None:
    assert [str(found) for found in imports(ROOT / "hil" / f"{name}.py") if own(found)] == []


def test_the_wire_does_no_input_or_output() -> None:
    found = [each for path in sources("hil/wire") for each in imports(path)]
    assert [str(each) for each in found if each.name.partition(".")[0] in NO_INPUT_OUTPUT] == []
    # Random bytes come in as a parameter whose default is the system's; nothing else of os is wanted.
    assert [str(each) for each in found if each.below("os") and each.name not in ("os", "os.urandom")] == []
    uses = [(path, node) for path in sources("hil/wire") for node in ast.walk(ast.parse(path.read_text()))]
    named = {
        node.attr
        for _, node in uses
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    assert named <= {"urandom"}
    calls = [
        path.name
        for path, node in uses
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "open"
    ]
    assert calls == []


def test_the_wire_needs_nothing_but_cryptography() -> None:
    outside = {
        found.name.partition(".")[0]
        for path in sources("hil/wire")
        for found in imports(path)
        if not own(found) and found.name.partition(".")[0] not in sys.stdlib_module_names
    }
    assert outside == {"cryptography"}


@pytest.mark.parametrize("room", ["hil", "firmware", "suites", "tests", "benchmarks"])
def test_no_file_is_too_long(room: str) -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(room)}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_the_walk_sees_every_way_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    room = tmp_path / "hil" / "usb"
    room.mkdir(parents=True)
    (room / "sly.py").write_text(
        "import hil.virtual.board as board\n"
        "from hil import cloud\n"
        "def later():\n"
        "    from ..virtual import port\n"
        "    from . import sysfs\n"
        "    from hil.wire import coap\n"
    )
    assert offences("hil/usb") == [
        "hil/usb/sly.py:1 imports hil.virtual.board",
        "hil/usb/sly.py:2 imports hil.cloud",
        "hil/usb/sly.py:4 imports hil.virtual.port",
        "hil/usb/sly.py:6 imports hil.wire.coap",
    ]
