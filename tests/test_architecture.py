"""The import rules of ``docs/architecture.md``, held by a walk over every syntax tree.

Imports for types and imports inside functions count like all others.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("hil", "suites", "firmware", "fixtures", "tests", "benchmarks", "conftest")
ERRORS = ("hil.errors", "hil.printable")
# Whoever needs them may have them: they know no room.
BASE = (
    *ERRORS,
    "hil.clock",
    "hil.controlsocket",
    "hil.held",
    "hil.observe",
    "hil.ports",
    "hil.resources",
    "hil.__version__",
)
FACE = ("hil.cloud.sync", "hil.cloud.config")


@dataclass(frozen=True, slots=True)
class Room:
    """What a folder or file may import besides itself and ``base``; inside it nothing imports to its left."""

    may: tuple[str, ...] = ()
    inside: str = ""
    base: tuple[str, ...] = BASE


TABLE = {
    "hil/printable.py": Room(base=()),
    "hil/errors.py": Room(base=("hil.printable",)),
    "hil/controlsocket.py": Room(base=ERRORS),
    "hil/clock": Room(base=(*ERRORS, "hil.controlsocket")),
    "hil/held.py": Room(base=ERRORS),
    "hil/observe.py": Room(base=ERRORS),
    "hil/ports.py": Room(base=ERRORS),
    "hil/resources.py": Room(base=ERRORS),
    "hil/twin.py": Room(("hil.virtual.app.wiring", "hil.wire.messages"), base=()),
    "hil/device": Room(base=ERRORS),
    "hil/wire": Room(("hil.device",), "ota messages tcp dtls coap"),
    "hil/usb": Room(("hil.device",)),
    "hil/netlab": Room(("hil.device",)),
    "hil/cloud": Room(
        ("hil.device", "hil.wire"),
        "sync compose http console integrations billing core gateways session state config",
    ),
    "hil/rig": Room(("hil.device", "hil.usb", "hil.netlab", *FACE)),
    "hil/virtual": Room(
        (
            *("hil.device", "hil.wire", "hil.netlab.topology", "hil.netlab.namespaces"),
            *("hil.rig.rigfile", "hil.rig.project"),
        ),
        "launch deviceos cloudclient app hardware kernel",
    ),
    "hil/report": Room(("hil.device",)),
    "hil/plugin": Room(("hil.device", "hil.rig", "hil.netlab", "hil.report", *FACE)),
    "hil/cli": Room(("hil",)),
    "hil/testing.py": Room(
        ("hil.device", "hil.rig", "hil.netlab", "hil.report", "hil.plugin", "hil.cloud.state.events", *FACE)
    ),
    "suites": Room(("hil.device", "hil.netlab.scan", "hil.testing", "fixtures")),
    "fixtures": Room(("hil.device", "hil.testing")),
    "firmware": Room(("hil.twin",)),
}
# The one file that joins the virtual rack with the network service.
ALSO = {"hil/virtual/launch/composition.py": ("hil.netlab.service",)}

# Modules that still import each other in a circle.
CIRCLES: list[str] = []

LONGEST_FILE, LONGEST_FUNCTION = 450, 60  # lines
# What is still longer.
TOO_LONG: list[str] = []

NO_INPUT_OUTPUT = {
    *("asyncio", "concurrent", "fcntl", "io", "logging", "mmap", "multiprocessing", "pathlib", "select"),
    *("selectors", "shutil", "signal", "socket", "socketserver", "ssl", "subprocess", "tempfile"),
    *("threading", "time"),
}


@dataclass(frozen=True, slots=True)
class Import:
    """``name`` is the full name of what is imported, such as ``hil.wire.coap.message.Message``."""

    path: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.name}"

    @property
    def ours(self) -> bool:
        return self.name.partition(".")[0] in OURS

    def below(self, *names: str) -> bool:
        return any(self.name == name or self.name.startswith(f"{name}.") for name in names)


def sources(room: str) -> list[Path]:
    place = ROOT / room
    found = [place] if place.is_file() else sorted(place.rglob("*.py"))
    found = [path for path in found if "node_modules" not in path.parts]
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


def offences(room: str) -> list[str]:
    """Imports that the table does not allow: of other rooms, or to the left inside the room."""
    rules, name = TABLE[room], room.removesuffix(".py").replace("/", ".")
    order = rules.inside.split()
    found = []
    for path in sources(room):
        place = path.relative_to(ROOT / room).with_suffix("").parts[0] if order else ""
        left = [f"{name}.{each}" for each in order[: order.index(place)]] if place in order else []
        for each in imports(path):
            allowed = each.below(name, *rules.base, *rules.may, *ALSO.get(each.path, ()))
            if each.ours and (not allowed or each.below(*left)):
                found.append(str(each))
    return found


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph(room: str) -> dict[str, set[str]]:
    """Which module of the room imports which. A package above a module is there before it: that is no circle."""
    files = {module_of(path): path for path in sources(room)}
    edges: dict[str, set[str]] = {}
    for module, path in files.items():
        edges[module] = set()
        for each in imports(path):
            target = each.name
            while target and target not in files:
                target = target.rpartition(".")[0]
            if target and not f"{module}.".startswith(f"{target}."):
                edges[module].add(target)
    return edges


def circles(edges: dict[str, set[str]]) -> list[str]:
    """The groups of modules that import each other, whichever way round."""
    reached: dict[str, set[str]] = {}
    for module in edges:
        seen: set[str] = set()
        ahead = list(edges[module])
        while ahead:
            one = ahead.pop()
            if one not in seen:
                seen.add(one)
                ahead += edges[one]
        reached[module] = seen
    groups = {
        frozenset(other for other in seen if module in reached[other])
        for module, seen in reached.items()
        if module in seen
    }
    return sorted(" ".join(sorted(group)) for group in groups)


@pytest.mark.parametrize("room", TABLE)
def test_a_room_imports_only_what_the_table_lets_it(room: str) -> None:
    assert offences(room) == []


def test_every_room_and_what_is_inside_is_in_the_table() -> None:
    rooms = {f"hil/{path.name}" for path in (ROOT / "hil").iterdir() if not path.name.startswith("__")}
    assert rooms - {"hil/py.typed"} <= set(TABLE)
    for room, rules in TABLE.items():
        if rules.inside:
            folders = {path.stem for path in (ROOT / room).iterdir() if not path.name.startswith("__")}
            assert folders <= set(rules.inside.split()), room


def test_no_circle_of_imports() -> None:
    assert circles(graph("hil")) == CIRCLES


@pytest.mark.parametrize(
    "room",
    ["hil/usb", "hil/rig", "hil/netlab", "hil/cloud", "hil/report", "hil/plugin", "suites", "fixtures"],
)
def test_production_code_never_knows_a_virtual_board(room: str) -> None:
    text = [f"{path.relative_to(ROOT)}" for path in sources(room) if "hil.virtual" in path.read_text()]
    assert text == []


def test_the_families_are_facts_alone() -> None:
    found = imports(ROOT / "hil" / "device" / "families.py")
    assert [str(each) for each in found if each.ours] == []


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
        if not found.ours and found.name.partition(".")[0] not in sys.stdlib_module_names
    }
    assert outside == {"cryptography"}


def too_long(path: Path) -> Iterator[str]:
    """The file when it is too long, and its functions that are."""
    text, name = path.read_text(), str(path.relative_to(ROOT))
    if len(text.splitlines()) > LONGEST_FILE:
        yield name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{name}:{node.lineno} {node.name}"


def test_no_file_and_no_function_is_too_long() -> None:
    rooms = ("hil", "firmware", "suites", "fixtures", "tests", "benchmarks")
    assert [each for room in rooms for path in sources(room) for each in too_long(path)] == []


# The walk itself


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository for the walk to look at."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    return tmp_path


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def test_the_walk_sees_every_way_to_import(house: Path) -> None:
    write(
        house / "hil" / "usb" / "sly.py",
        "import hil.virtual.board as board",
        "from hil import cloud",
        "def later():",
        "    from ..virtual import port",
        "    from . import sysfs",
        "    from hil.wire import coap",
    )
    assert offences("hil/usb") == [
        "hil/usb/sly.py:1 imports hil.virtual.board",
        "hil/usb/sly.py:2 imports hil.cloud",
        "hil/usb/sly.py:4 imports hil.virtual.port",
        "hil/usb/sly.py:6 imports hil.wire.coap",
    ]


def test_the_walk_sees_what_imports_to_its_left(house: Path) -> None:
    write(house / "hil" / "wire" / "coap" / "message.py", "from hil.wire.dtls.records import Record")
    write(house / "hil" / "wire" / "dtls" / "records.py", "from hil.wire.coap.message import Message")
    assert offences("hil/wire") == ["hil/wire/coap/message.py:1 imports hil.wire.dtls.records.Record"]


def test_the_walk_sees_circles_however_they_close(house: Path) -> None:
    write(house / "hil" / "__init__.py", "from hil.a import thing")
    write(house / "hil" / "a.py", "from hil import b, __version__")
    write(house / "hil" / "b.py", "if TYPE_CHECKING:", "    from hil.c.d import thing")
    write(house / "hil" / "c" / "__init__.py", "from hil.c.d import thing")
    write(house / "hil" / "c" / "d.py", "import hil.c", "def late():", "    from hil.a import thing")
    write(house / "hil" / "e.py", "import hil.a, hil.b")
    assert circles(graph("hil")) == ["hil.a hil.b hil.c.d"]


def test_the_walk_measures_files_and_functions(house: Path) -> None:
    write(house / "a.py", "def f():", *["    pass"] * LONGEST_FUNCTION, *["#"] * LONGEST_FILE)
    write(house / "b.py", "def f():", *["    pass"] * (LONGEST_FUNCTION - 1))
    assert [*too_long(house / "a.py"), *too_long(house / "b.py")] == ["a.py", "a.py:1 f"]
