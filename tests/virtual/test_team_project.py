"""A team's own application in a team's own folder: found, built, flashed and used in the virtual rack."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from hil import resources
from hil.device.modules import ModuleFunction, build
from hil.device.platforms import by_name
from hil.virtual.hardware.factory import user_dependency

INSIDE = Path(__file__).with_name("inside_team_project.py")
TWIN = """
from hil.twin import Application
from plants import thirst

class App(Application):
    VERSIONS = (1, 2)

    def setup(self) -> None:
        self.liters = 0
        self.os.function("water", self.water)
        self.os.variable("liters", int, lambda: self.liters)
        self.os.publish("garden/ready", f"version {self.os.version}")
        self.looped = False

    def loop(self) -> None:
        if not self.looped:
            self.looped = True
            self.os.publish("garden/looped", str(thirst(self.liters)))

    def water(self, argument: str) -> int:
        self.liters += int(argument)
        return self.liters
"""


def rig_of_two() -> str:
    """The packaged rig, cut down to a board on TCP and one on UDP."""
    head, *slots = resources.virtual_rig().read_text().split("[[slots]]")
    kept = [slot for slot in slots if 'platform = "photon"' in slot or 'platform = "argon"' in slot]
    return "[[slots]]".join([head, *kept])


def aquarium() -> bytes:
    """An image whose application has no twin anywhere."""
    argon = by_name("argon")
    part = argon.user_part_for("6.2.0")
    payload = b"HIL-APP:aquarium@1\nHIL-BUILD:00000000000000aa\n".ljust(4096, b"\xa5")
    needs = (user_dependency(argon, "6.2.0"),)
    return build(argon.id, ModuleFunction.USER_PART, part.index, 6, part.start, payload, needs)


def project(root: Path) -> Path:
    (root / "firmware" / "green-house").mkdir(parents=True)
    (root / "firmware" / "green-house" / "twin.py").write_text(TWIN)
    (root / "firmware" / "green-house" / "plants.py").write_text("def thirst(liters): return 7 - liters\n")
    (root / "bench").mkdir()
    (root / "bench" / "two.toml").write_text(rig_of_two())
    (root / "pyproject.toml").write_text('[tool.hil]\nrig = "bench/two.toml"\napplications = ["firmware"]\n')
    (root / "aquarium.bin").write_bytes(aquarium())
    (root / "suites").mkdir()
    return root


def rack(where: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HIL_")}
    launcher = [sys.executable, "-m", "hil.cli.main", "rack", *command]
    return subprocess.run(
        launcher, cwd=where, env=environment, capture_output=True, text=True, timeout=180, check=False
    )


def test_a_team_runs_its_own_application_on_virtual_boards(tmp_path: Path) -> None:
    team = project(tmp_path / "team")
    python = shlex.quote(sys.executable)
    script = f"{python} {shlex.quote(str(INSIDE))} ../aquarium.bin && {python} -m hil.cli.main boards"
    # From a folder inside the project: nothing is found relative to the working directory.
    done = rack(team / "suites", "run", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    first, _, shown = done.stdout.partition("\n")
    seen = json.loads(first)
    assert seen["rig"] == str(team / "bench" / "two.toml")
    used = {"ready": "version 2", "watered": 3, "liters": 3}
    for slot in ("photon-1", "argon-1"):
        looped = seen[slot].pop("looped")
        assert looped in ("7", "4")  # the first loop may come before or after the call
        assert seen[slot] == used
    # An image without a twin: in the error, on serial, in `hil boards`.
    assert "does not run the image" in seen["without a twin"]["error"]
    said = seen["without a twin"]["serial"]
    assert "application aquarium has no twin" in said
    assert str(team / "firmware") in said
    assert f"argon-1 does not run its application: {said}" in shown
    assert "photon-1 does not" not in shown
    assert not list(team.rglob("__pycache__"))


def test_a_mistake_in_a_twin_is_said_before_the_rack_starts(tmp_path: Path) -> None:
    team = project(tmp_path / "team")
    (team / "firmware" / "green-house" / "twin.py").write_text("import nosuchthing\n")
    done = rack(team, "run", "--", "true")
    assert done.returncode == 2
    assert "green-house" in done.stderr
    assert f"{team / 'firmware' / 'green-house' / 'twin.py'}:1: ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_platform_in_the_rig_file_begins_from_the_factory_and_says_so(tmp_path: Path) -> None:
    team = project(tmp_path / "team")
    assert rack(team, "run", "--", "true").stderr == ""
    rig = team / "bench" / "two.toml"
    rig.write_text(rig.read_text().replace('platform = "argon"', 'platform = "boron"'))
    done = rack(team, "run", "--", sys.executable, "-m", "hil.cli.main", "boards")
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    kept = team / ".hil" / "virtual" / "e00fce68aabbccddeeff0011.argon"
    assert line.startswith("hil rack: argon-1: ")
    assert str(kept) in line
    assert (kept / "internal.bin").exists()
    assert "boron" in done.stdout
    assert "does not run its application" not in done.stdout
