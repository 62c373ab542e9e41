"""Updates by control requests: USB fact sheet 4.5 and 6.1."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.device.platforms import by_name
from hil.device.protobuf import Writer
from hil.virtual.launch.images import Release, build_image
from tests.virtual.boardbench import BOARDS, Bench

ALL = sorted(BOARDS)


@pytest.mark.parametrize("name", ALL)
def test_update_over_usb(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    image = build_image(Release("blinker", 1), by_name(name), BOARDS[name][0])
    assert bench.request(253, Writer().data(1, b"x").finish()) == (-210, b"")
    assert bench.request(250, Writer().uint(1, 5).uint(2, 1).finish()) == (-120, b"")
    assert bench.request(250, Writer().uint(1, len(image)).finish()) == (0, b"\x08\x80\x08")
    for place in range(0, len(image), 1024):
        assert bench.request(253, Writer().data(1, image[place : place + 1024]).finish()) == (0, b"")
    assert bench.request(251, b"\x08\x01") == (0, b"")
    assert bench.request(251) == (0, b"")
    bench.clock.advance(1)
    assert bench.machine.last_reset_reason == "update"
    assert bench.machine.ota_succeeded
    assert not bench.machine.safe_mode
    assert b'"app":"blinker"' in bench.request(10, b'{"c":"info"}')[1]


def test_update_that_the_board_refuses(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    photon = build_image(Release("probe", 1), by_name("photon"), "2.3.1")
    good = build_image(Release("probe", 1), by_name("argon"), "6.2.0")
    broken = good[:-1] + bytes([good[-1] ^ 1])
    for file, result in ((photon, -280), (broken, -280), (b"garbage", -280)):
        bench.request(250, Writer().uint(1, len(file)).finish())
        for place in range(0, len(file), 1024):
            bench.request(253, Writer().data(1, file[place : place + 1024]).finish())
        assert bench.request(251) == (result, b"")
    assert bench.request(250, Writer().uint(1, 1536001).finish()) == (-190, b"")
    for chunk in (b"", b"123456"):
        assert bench.request(250, Writer().uint(1, 5).finish())[0] == 0
        assert bench.request(253, Writer().data(1, chunk).finish()) == (-290, b"")
        assert bench.request(253, Writer().data(1, b"1").finish()) == (-210, b"")
    bench.request(250, Writer().uint(1, 5).finish())
    assert bench.request(251) == (-210, b"")
    assert bench.request(253, Writer().data(1, b"12345").finish()) == (-210, b"")
    bench.clock.advance(5)
    assert bench.port.history == ["normal"]
