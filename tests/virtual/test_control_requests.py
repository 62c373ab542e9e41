"""What control requests answer, board by board: USB fact sheet 4.5, 4.6, protocol fact sheet 11.6."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.device.protobuf import Fields
from hil.virtual.kernel.usbdevice import Setup, Stall
from tests.virtual.boardbench import BOARDS, Bench

ALL = sorted(BOARDS)
GEN2 = ("photon", "electron")


@pytest.mark.parametrize("name", ALL)
def test_identity(tmp_path: Path, name: str) -> None:
    device_os, device_id = BOARDS[name]
    bench = Bench(tmp_path, name)
    assert bench.request(20) == (0, b"\x0a\x18" + device_id.encode())
    assert bench.request(30) == (0, b"\x0a\x05" + device_os.encode())
    assert bench.request(1, b"\x00\x01echo") == (0, b"\x00\x01echo")
    assert bench.request(32) == (0, b"")
    assert bench.request(100)[1].startswith(b'{"')
    assert bench.request(100, b"x") == (-120, b"")
    serial = bench.request(21)
    assert serial == (-1, b"") if name in GEN2 else len(serial[1]) == 17


# Request -> result on (photon, electron, argon, boron).
TABLE = {
    31: (-120, -120, 0, -120),
    73: (-120, -120, -120, 0),  # an empty message says "not done"
    74: (-120, -120, 0, 0),
    76: (-120, -120, 0, -120),
    91: (-120, -120, 0, -120),
    223: (0, 0, -120, -120),
    33: (-120, -120, -120, -120),  # an empty message names no feature
    34: (-120, -120, -120, -120),
    41: (0, 0, 0, 0),
    75: (0, 0, 0, 0),
    77: (-120, -120, 0, -120),
    110: (-120, -120, -120, -120),
    200: (0, 0, 0, 0),
    211: (-120, -120, -120, -120),
    222: (-120, -120, -120, -120),  # an empty message names no protocol
    230: (0, 0, 0, 0),
    231: (0, 0, 0, 0),
    240: (0, 0, -120, -120),
    400: (-120, -120, 0, 0),
    401: (-120, -120, -1, -1),  # there is no interface 0
    500: (-120, -120, -270, -120),
    501: (-120, -120, -170, -120),
    502: (-120, -120, 0, -120),
    503: (-120, -120, 0, -120),
    504: (-120, -120, 0, -120),
    505: (-120, -120, 0, -120),
    506: (-120, -120, 0, -120),
    507: (-120, -120, -270, -120),
    550: (-120, -120, -120, -270),
    551: (-120, -120, -120, -270),
    552: (-120, -120, -120, -270),
    553: (-120, -120, -120, 0),
    554: (-120, -120, -120, 0),
    1100: (-120, -120, -120, -120),
    999: (-120, -120, -120, -120),
}


@pytest.mark.parametrize("number", sorted(TABLE))
def test_who_answers_what(tmp_path: Path, number: int) -> None:
    results = tuple(
        Bench(tmp_path / name, name).request(number)[0] for name in ("photon", "electron", "argon", "boron")
    )
    assert results == TABLE[number]


def test_ncp_version(tmp_path: Path) -> None:
    fields = Fields(Bench(tmp_path).request(31)[1])
    assert (fields.text(1), fields.uint(2)) == ("0.0.5", 5)


def test_old_module_table(tmp_path: Path) -> None:
    modules = [Fields(item) for item in Fields(Bench(tmp_path, "boron").request(90)[1]).all(1)]
    table = [(module.uint(1), module.uint(2), module.uint(3), module.uint(5)) for module in modules]
    assert table == [(1, 0, 1006, 0), (2, 1, 2302, 0), (3, 1, 6, 0), (6, 0, 202, 0)]
    assert modules[2].uint(4) == 12288  # without the CRC


def test_new_module_table_has_every_hash(tmp_path: Path) -> None:
    modules = [Fields(item) for item in Fields(Bench(tmp_path).request(90)[1]).all(2)]
    table = [(module.uint(1), module.uint(2), module.uint(3), len(module.data(8))) for module in modules]
    assert table == [(2, 0, 3100, 32), (4, 1, 6200, 32), (5, 2, 6, 32), (7, 0, 5, 32), (8, 0, 202, 32)]


def test_application_request_in_safe_mode_is_not_supported(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.request(60)
    bench.clock.advance(1)
    assert bench.request(10, b'{"c":"info"}') == (-120, b"")
    assert bench.request(30)[0] == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    name=st.sampled_from(["electron", "argon"]),
    requests=st.lists(
        st.tuples(
            st.sampled_from([1, 20, 73, 90, 100, 200, 210, 211, 220, 221, 222, 250, 251, 253, 300, 76])
            | st.integers(2, 0xFFFF).filter(lambda number: number not in (10, 40, 41, 50, 60)),
            st.binary(max_size=80),
        ),
        max_size=6,
    ),
)
def test_garbage_payloads_get_a_result(
    tmp_path_factory: pytest.TempPathFactory, name: str, requests: list[tuple[int, bytes]]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("board"), name)
    for number, payload in requests:
        result, _ = bench.request(number, payload)
        assert -2000 < result <= 0


SETUPS = st.builds(
    Setup,
    st.sampled_from([0xC0, 0x40, 0x21, 0xA1, 0x80, 0x00]) | st.integers(0, 255),
    st.sampled_from([1, 2, 3, 4, 5, 6, 0x20, 0x21, 0x22, 0x50]) | st.integers(0, 255),
    st.integers(0, 6) | st.integers(0, 0xFFFF),
    st.sampled_from([0, 1, 2, 3, 10, 20, 30, 40, 302]) | st.integers(0, 0xFFFF),
    st.sampled_from([0, 7, 63, 64, 4096]) | st.integers(0, 0xFFFF),
)


@settings(deadline=None, max_examples=80)
@given(steps=st.lists(st.tuples(SETUPS, st.binary(max_size=70)), max_size=30))
def test_garbage_on_endpoint_0_is_answered_or_stalled(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Setup, bytes]]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("board"))
    for setup, data in steps:
        try:
            reply = bench.device.control(setup, b"" if setup.is_in else data)
        except Stall:
            continue
        assert len(reply) <= setup.w_length
        bench.clock.advance(0.5)
    assert bench.port.history[0] == "normal"
