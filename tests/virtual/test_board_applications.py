"""What a virtual board makes of the application in its flash: its own twin, Tinker, or a loud refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.device.modules import ModuleFunction, build
from hil.device.platforms import by_name
from hil.virtual.app.library import ApplicationLibrary
from hil.virtual.app.tinker import Tinker
from hil.virtual.hardware.factory import user_dependency
from hil.virtual.hardware.loader import Validity, application_of
from hil.virtual.hardware.update import split
from hil.virtual.launch.images import Release, build_image
from tests.virtual.boardbench import BOARDS, Bench

ROOT = Path(__file__).parents[2]
TWIN = """
from hil.twin import Application

class App(Application):
    SYSTEM_THREAD = True

    def control_request(self, payload):
        return 0, f"greenhouse {self.os.version}".encode()
"""
# What the four functions look like in a compiled Tinker: C strings among other things, no mark of ours.
TINKER = b"\x10\xb5\x04F\0digitalwrite\0analogread\0 D0\0digitalread\0\0analogwrite\0\x70\x47"


def user_part(name: str, payload: bytes) -> bytes:
    platform, device_os = by_name(name), BOARDS[name][0]
    part = platform.user_part_for(device_os)
    needs = (user_dependency(platform, device_os),)
    return build(platform.id, ModuleFunction.USER_PART, part.index, 5, part.start, payload, needs)


def flashed(tmp_path: Path, name: str, image: bytes, library: ApplicationLibrary | None = None) -> Bench:
    bench = Bench(tmp_path / "board", name, library=library)
    bench.machine.apply_update(image)
    bench.clock.advance(1)
    return bench


def user_validity(bench: Bench) -> list[Validity]:
    """Of all user parts in the module table that host and cloud are told."""
    states = [state for state in bench.machine.modules() if state.slot.function is ModuleFunction.USER_PART]
    described = [module for module in bench.machine.system_describe().modules if module.function == "u"]
    assert [module.valid for module in described] == [int(state.valid) for state in states]
    return [state.valid for state in states]


def said(bench: Bench) -> str:
    """What the board writes to whoever opens its port and is ready to read a moment later."""
    received = bench.open_serial()
    assert received == []
    bench.clock.advance(0.3)
    return b"".join(received).decode()


@pytest.fixture
def library(tmp_path: Path) -> ApplicationLibrary:
    folder = tmp_path / "team" / "firmware"
    (folder / "green-house").mkdir(parents=True)
    (folder / "green-house" / "twin.py").write_text(TWIN)
    return ApplicationLibrary([folder])


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_an_application_of_another_repository_runs(
    tmp_path: Path, name: str, library: ApplicationLibrary
) -> None:
    image = build_image(Release("green-house", 4), by_name(name), BOARDS[name][0], library)
    bench = flashed(tmp_path, name, image, library)
    assert bench.request(10, b"?") == (0, b"greenhouse 4")
    assert user_validity(bench) == [Validity.ALL]
    assert said(bench) == ""


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_an_image_without_a_twin_is_loud(tmp_path: Path, name: str, library: ApplicationLibrary) -> None:
    bench = flashed(tmp_path, name, user_part(name, b"HIL-APP:aquarium@1\n"), library)
    assert bench.machine.safe_mode
    assert bench.request(10, b"?") == (-120, b"")
    assert user_validity(bench) == [Validity.ALL & ~Validity.DEPENDENCIES]
    line = said(bench)
    assert line.startswith("hil: this board runs no application: application aquarium has no twin;")
    assert all(str(folder) in line for folder in library.folders)
    assert line.endswith("\r\n")
    assert line.count("\n") == 1
    bench.normal.port.modem_lines(dtr=False, rts=False)
    assert said(bench) == line  # whoever comes next hears it too


def test_who_reads_late_hears_it_again(tmp_path: Path) -> None:
    bench = flashed(tmp_path, "argon", user_part("argon", b"HIL-APP:aquarium@1\n"))
    line = said(bench)
    received = bench.open_serial()
    bench.clock.advance(1000)
    assert set(received) == {line.encode()}
    assert 10 < len(received) < 30
    bench.normal.port.modem_lines(dtr=False, rts=False)
    received.clear()
    bench.clock.advance(1000)
    assert received == []


def test_an_image_without_a_name_is_loud(tmp_path: Path) -> None:
    bench = flashed(tmp_path, "argon", user_part("argon", b"somebody's own firmware"))
    assert bench.machine.safe_mode
    line = said(bench)
    assert "does not say its name" in line
    assert "HIL-APP:<name>@<version>" in line
    assert user_validity(bench) == [Validity.ALL & ~Validity.DEPENDENCIES]


@pytest.mark.parametrize(
    ("twin", "words"),
    [
        ("class App(:\n", "twin.py:1: SyntaxError"),
        (TWIN + "\n    def __init__(self, os):\n        1 / 0\n", "Zero"),
    ],
)
def test_a_broken_twin_is_loud(tmp_path: Path, library: ApplicationLibrary, twin: str, words: str) -> None:
    image = build_image(Release("green-house", 1), by_name("argon"), "6.2.0", library)
    (library.folders[0] / "green-house" / "twin.py").write_text(twin)
    bench = flashed(tmp_path, "argon", image, library)
    assert bench.machine.safe_mode
    assert words in said(bench)


def test_the_next_application_ends_the_refusal(tmp_path: Path, library: ApplicationLibrary) -> None:
    bench = flashed(tmp_path, "argon", user_part("argon", b"HIL-APP:aquarium@1\n"), library)
    bench.machine.apply_update(build_image(Release("green-house", 1), by_name("argon"), "6.2.0", library))
    bench.clock.advance(1)
    assert not bench.machine.safe_mode
    assert user_validity(bench) == [Validity.ALL]
    assert said(bench) == ""


def test_a_twin_that_was_edited_is_what_runs_after_the_next_reset(
    tmp_path: Path, library: ApplicationLibrary
) -> None:
    image = build_image(Release("green-house", 1), by_name("argon"), "6.2.0", library)
    bench = flashed(tmp_path, "argon", image, library)
    (library.folders[0] / "green-house" / "twin.py").write_text(TWIN.replace("greenhouse", "glasshouse"))
    assert bench.request(10, b"?") == (0, b"greenhouse 1")
    bench.board.press_reset()
    bench.clock.advance(0)
    assert bench.request(10, b"?") == (0, b"glasshouse 1")


# -- Tinker --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_tinker_is_known_by_its_four_functions(tmp_path: Path, name: str) -> None:
    bench = flashed(tmp_path, name, user_part(name, TINKER))
    system = bench.board.system
    assert system is not None
    assert not bench.machine.safe_mode
    system.application.cloud_connected()
    assert system.application.call("digitalwrite", b"D7,HIGH").result(5) == 1
    # Protocol fact sheet 11.3, the application Describe of every Tinker.
    described = '{"f":["digitalread","digitalwrite","analogread","analogwrite"],"v":{}}'
    assert system.application.describe().to_json().decode() == described
    assert said(bench) == ""
    assert Tinker.VERSIONS == (1,)


@pytest.mark.parametrize("missing", ["digitalread", "digitalwrite", "analogread", "analogwrite"])
def test_three_of_the_functions_are_not_tinker(tmp_path: Path, missing: str) -> None:
    image = user_part("argon", TINKER.replace(missing.encode(), b"x" * len(missing)))
    assert flashed(tmp_path, "argon", image).machine.safe_mode


def test_a_name_of_its_own_counts_more_than_tinkers_functions(
    tmp_path: Path, library: ApplicationLibrary
) -> None:
    image = user_part("argon", TINKER + b"HIL-APP:green-house@2\n")
    assert flashed(tmp_path, "argon", image, library).request(10, b"?") == (0, b"greenhouse 2")


REAL = sorted(ROOT.glob("tests/clients/node_modules/particle-cli/assets/knownApps/*/tinker*/*.bin"))


@pytest.mark.skipif(not REAL, reason="particle-cli is not installed: scripts/setup test")
def test_particles_own_tinker_images_are_known() -> None:
    parts = [part for path in REAL for part in split(path.read_bytes())]
    found = [application_of(part) for part in parts]
    assert {each.name if each else None for each in found} == {"tinker"}
