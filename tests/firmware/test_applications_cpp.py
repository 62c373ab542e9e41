"""The C++ of the test applications, compiled for the host: it parses, and the probe answers as its twin does.

``Particle.h`` here is a hand-written stand-in for Device OS's header, so this proves the applications' own code and not
their use of the real API.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.probe.twin import App as Twin
from hil.device.platforms import by_name
from hil.virtual.app.apps import ApplicationHost, ApplicationImage
from hil.virtual.app.wiring import AckMode, Publication, PublishState
from tests.virtual.cloudbench import FakeFacts

HERE = Path(__file__).parent
FIRMWARE = HERE.parents[1] / "firmware"
BUILD = "0123456789abcdef"
RELEASES = {"2.3.1": "0x02030100", "6.2.0": "0x06020000"}


def compiled(directory: Path, application: str, release: str) -> Path:
    """The application with a ``main`` of the host's around it."""
    source = FIRMWARE / application / "src" / f"{application}.cpp"
    program = directory / f"{application}-{release}"
    command = ["g++", "-std=gnu++17", "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable"]
    defines = {"SYSTEM_VERSION": RELEASES[release], "HIL_BUILD": f'"{BUILD}"', "APPLICATION": f'"{source}"'}
    command += [f"-D{name}={value}" for name, value in defines.items()]
    command += [f"-I{HERE}", str(HERE / "runner.cpp"), "-o", str(program)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return program


class Cpp:
    """A running application; each line asked gets one line of answer."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        return self._process.stdout.readline().rstrip("\n")

    def command(self, payload: str) -> tuple[int, Any]:
        result, _, reply = self.ask(payload).partition(" ")
        return int(result), json.loads(reply) if reply else None

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(10) == 0
        self._process.stdout.close()


class TwinCloud:
    """The cloud of the twin, as generous as the one of ``Particle.h``."""

    connected = True

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def publish(self, _name: str, data: bytes, *, ttl: int, ack: AckMode) -> Publication:
        assert ttl >= 0
        assert ack in AckMode
        return Publication(PublishState.OK if len(data) <= 1024 else PublishState.REFUSED)

    def subscribed(self, _subscription: object) -> None: ...

    def unsubscribed(self) -> None: ...

    def application_ready(self) -> None: ...


class TwinBoard:
    """The twin with its wiring."""

    def __init__(self) -> None:
        self.facts = FakeFacts(by_name("argon"), "6.2.0", bytes(12), None, None, None)
        self.cloud = TwinCloud()
        self.os = ApplicationHost(self.facts, None, ApplicationImage("probe", 1, BUILD))
        self.os.bind_cloud(self.cloud)
        self.app = Twin(self.os)
        self.app.setup()

    def command(self, payload: str) -> tuple[int, Any]:
        code, reply = self.app.control_request(payload.encode())
        return code, json.loads(reply) if reply else None


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("applications")
    return {release: compiled(directory, "probe", release) for release in RELEASES}


@pytest.fixture(params=list(RELEASES))
def probe(request: pytest.FixtureRequest, programs: dict[str, Path]) -> Iterator[Cpp]:
    running = Cpp(programs[request.param])
    yield running
    running.close()


NUMBERS = ("1", "-7", "2147483647", "2147483648", "-2147483649", "1.0", "1e0", "0.5", '"12"', '"+3"', '"12x"')
OTHERS = (
    '""',
    '" 1"',
    '"0x10"',
    '"inf"',
    '"nan"',
    "1e999",
    "true",
    "null",
    "[]",
    "{}",
    '"length"',
    '"perhaps"',
    "2",
)
NAMES = ('""', "5", "null", '"a"', f'"{"n" * 64}"', f'"{"n" * 65}"', '"grüße"')
COMMANDS = (
    *("", "{", "[]", "7", '"info"', "{}", '{"c":"nothing"}', '{"c":5}', '{"c":"info ","n":1}'),
    *('{"c":"cloud"}', '{"c":"received"}', '{"c":"calls"}', '{"c":"unsubscribe"}', '{"c":"publish"}'),
    *(f'{{"c":"publish","n":{name}}}' for name in NAMES),
    *(f'{{"c":"publish","n":"a","d":{data}}}' for data in ('"x"', "1", "null", f'"{"x" * 1025}"')),
    *(
        f'{{"c":"publish","n":"a","f":{flags}}}'
        for flags in ('"ack"', '"noack"', '""', '"loud"', "1", "null")
    ),
    *(f'{{"c":"publish","n":"a","ttl":{ttl}}}' for ttl in (*NUMBERS, *OTHERS, "16777215", "16777216")),
    *(f'{{"c":"published","id":{number}}}' for number in (*NUMBERS, *OTHERS, "0", "99")),
    *(f'{{"c":"received","from":{number}}}' for number in (*NUMBERS, *OTHERS)),
    *(f'{{"c":"calls","from":{number}}}' for number in (*NUMBERS, *OTHERS)),
    *(f'{{"c":"function","n":{name},"r":1}}' for name in NAMES),
    *(f'{{"c":"function","n":"f","r":{result}}}' for result in (*NUMBERS, *OTHERS)),
    '{"c":"function","n":"f"}',
    *(f'{{"c":"variable","n":{name},"t":"int","v":1}}' for name in NAMES),
    *(
        f'{{"c":"variable","n":"{kind}","t":"{kind}","v":{value}}}'
        for kind in ("bool", "int", "double", "string", "float")
        for value in (*NUMBERS, *OTHERS, "false", "0")
    ),
    *(
        '{"c":"variable","n":"v","t":"int"}',
        '{"c":"variable","n":"v","v":1}',
        '{"c":"variable","n":"v","t":5,"v":1}',
    ),
    '{"c":"variable","n":"probe_int","t":"string","v":"1"}',
    *(
        f'{{"c":"sleep","s":{seconds}}}'
        for seconds in (*NUMBERS, *OTHERS, "0", "-1", "86400", "86401", '"0.5"')
    ),
    '{"c":"sleep"}',
    *(f'{{"c":"subscribe","n":{name}}}' for name in (*NAMES, '"b"', '"c"')),
)


def test_both_sides_answer_alike(probe: Cpp) -> None:
    twin = TwinBoard()
    different = {}
    for payload in COMMANDS:
        answers = probe.command(payload), twin.command(payload)
        if answers[0] != answers[1]:
            different[payload] = answers
    assert different == {}
    for kind in ("bool", "int", "string"):
        value = twin.os.variables[kind].read()
        assert probe.ask(f"!read {kind}") == (str(value).lower() if isinstance(value, bool) else str(value))


def test_both_sides_offline(probe: Cpp) -> None:
    twin = TwinBoard()
    twin.cloud.connected = False
    probe.ask("!offline")
    for payload in ('{"c":"cloud"}', '{"c":"publish","n":"a","f":"loud"}', '{"c":"publish","n":""}'):
        assert probe.command(payload) == twin.command(payload)


def test_calls_and_long_pages(probe: Cpp) -> None:
    assert [probe.ask(f"!call probe_{name} grüße") for name in ("echo", "answer")] == ["7", "42"]
    probe.command('{"c":"function","n":"probe_answer","r":-5}')
    assert probe.ask("!call probe_answer x") == "-5"
    for number in range(9):
        probe.ask(f"!call probe_echo {number}{'x' * 1000}")
    code, page = probe.command('{"c":"calls","from":3}')
    assert (code, page["next"]) == (0, 11)
    assert [len(call["a"]) for call in page["calls"]] == [1001] * 8
    assert page["calls"][7] == {"n": "probe_echo", "a": "7" + "x" * 1000}
    assert probe.command('{"c":"subscribe","n":"p"}') == (0, {"id": 1})
    probe.ask("!event p/x some data")
    assert probe.command('{"c":"received"}') == (0, {"events": [{"n": "p/x", "d": "some data"}], "next": 1})


def test_what_happens_after_the_reply(probe: Cpp) -> None:
    for payload, done in (
        ('{"c":"reset"}', "reset"),
        ('{"c":"safemode"}', "safe mode"),
        ('{"c":"sleep","s":0.25}', "sleep 250"),
    ):
        assert probe.command(payload) == (0, {})
        assert probe.ask("!later") == done
    assert probe.command('{"c":"disconnect"}') == (0, {})
    probe.ask("!later")
    assert probe.command('{"c":"cloud"}') == (0, {"connected": False})


def test_serial_carrier(probe: Cpp) -> None:
    probe.ask("!printed")
    for line in ('>{"c":"cloud"}', "noise", '>{"c":"nothing"}', ">oops", '>{"c":"unsubscribe"}'):
        probe.ask(f"!serial {line}")
    probe.ask(f'!serial >{{"c":"cloud","x":"{"x" * 4096}"}}')
    told = r"probe: online\r\n", r"probe: unsubscribe\r\n"
    answers = r'<{"_":0,"connected":true}\n', r'<{"_":-120}\n<{"_":-270}\n', r'<{"_":0}\n'
    assert probe.ask("!printed") == "".join([told[0], answers[0], answers[1], told[1], answers[2]])
    probe.ask('!serial >{"c":"cloud"}')
    assert probe.ask("!printed") == r'<{"_":0,"connected":true}\n'


def test_6_17_both_sides_tell_the_same(probe: Cpp) -> None:
    boot = rf"probe: version 1 build {BUILD} boot 1\r\n"
    probe.ask("!port closed")
    probe.ask("!later")
    assert probe.ask("!printed") == "", "nobody reads"
    for _ in range(2):
        probe.ask("!port open")
        probe.ask("!later")
        assert probe.ask("!printed") == boot, "each time that the port is opened"
        probe.ask("!port closed")
    probe.ask("!port open")
    probe.ask("!later")
    probe.ask("!printed")
    twin = TwinBoard()
    twin.facts.serial = b""
    long = "y" * 80
    for payload in (
        '{"c":"subscribe","n":"garden/"}',
        f'{{"c":"publish","n":"{long}","d":"secret"}}',
        '{"c":"received"}',
        '{"c":"function","n":"","r":1}',
        '{"c":"nothing"}',
        '{"c":"sleep","s":-1}',
    ):
        probe.command(payload)
        twin.command(payload)
    probe.ask("!call probe_echo grüße")
    twin.os.functions["probe_echo"]("grüße")
    probe.ask("!event garden/x 12345")
    twin.app._received("garden/x", b"12345")
    said = probe.ask("!printed")
    assert said == twin.facts.serial.decode().replace("\r", "\\r").replace("\n", "\\n")
    assert said.count("probe: ") == 6


def test_6_17_a_host_that_reads_nothing_holds_nothing_up(probe: Cpp) -> None:
    probe.ask("!printed")
    probe.ask("!port open 10")
    assert probe.command('{"c":"unsubscribe"}') == (0, {})
    assert probe.ask("!printed") == ""


def test_image_has_its_marker_lines(programs: dict[str, Path]) -> None:
    image = programs["6.2.0"].read_bytes()
    assert b"HIL-APP:probe@1\n" in image
    assert b"HIL-BUILD:" + BUILD.encode() + b"\n" in image


@pytest.mark.parametrize("release", RELEASES)
def test_blinker(tmp_path: Path, release: str) -> None:
    blinker = Cpp(compiled(tmp_path, "blinker", release))
    code, info = blinker.command('{"c":"info"}')
    assert (code, info["app"], info["version"], info["build"]) == (0, "blinker", 1, BUILD)
    assert blinker.command('{"c":"publish"}') == (-120, None)
    assert [blinker.ask(f"!call blink {argument}") for argument in ("3", "x", "-1")] == ["3", "-1", "-1"]
    blinker.close()
