"""What may be written to sysfs and to udevd's socket: words from outside, parsed as the kernel parses them."""

from __future__ import annotations

import contextlib
import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.virtual.kernel.control import number, truth
from hil.virtual.kernel.reannounce import asked_event
from hil.virtual.kernel.udevcontrol import is_last
from hil.virtual.kernel.usbnodes import Node

UUID = "3b5c1d0e-0000-4a4a-8b8b-0123456789ab"


def node() -> Node:
    kernel = {"DEVTYPE": "usb_interface", "MODALIAS": "usb:v2B04"}
    return Node("1-1:1.0", "/devices/usb1/1-1/1-1:1.0", "usb", kernel, {}, {}, driver="cdc_acm")


def test_an_event_that_is_asked_for_says_so() -> None:
    plain = asked_event(node(), "change\n")
    assert (plain.action, plain.kernel["SYNTH_UUID"], plain.kernel["DRIVER"]) == ("change", "0", "cdc_acm")
    named = asked_event(node(), f"add {UUID} A=1 B=x2")
    assert named.kernel["SYNTH_UUID"] == UUID
    assert (named.kernel["SYNTH_ARG_A"], named.kernel["SYNTH_ARG_B"]) == ("1", "x2")


@pytest.mark.parametrize("text", ["", "explode", "change 1234", f"change {UUID} A", f"change {UUID} A=b/c"])
def test_an_event_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(OSError) as refused:
        asked_event(node(), text)
    assert refused.value.errno == errno.EINVAL


@given(st.text(max_size=80))
def test_any_text_is_an_event_or_refused(text: str) -> None:
    with contextlib.suppress(OSError):
        assert asked_event(node(), text).action == text.split()[0]


def test_yes_and_no_as_the_kernel_reads_them() -> None:
    assert [truth(word) for word in ("1", "y", "on", "0", "N", "off")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(OSError, match="neither yes nor no"):
        truth("maybe")
    with pytest.raises(OSError, match="no number"):
        number("")
    assert number("2b04", 16) == 0x2B04


def udev_message(kind: int) -> bytes:
    return b"252".ljust(16, b"\0") + struct.pack("=Ii256x", 0xDEAD1DEA, kind)


@given(st.binary(max_size=64))
def test_a_client_of_udevd_is_heard_to_its_last_message(garbage: bytes) -> None:
    assert not is_last(udev_message(8))
    assert is_last(udev_message(0))
    assert is_last(garbage[:20])
