"""The serial console of listening mode: single keys, and the Wi-Fi dialogue. USB fact sheet 3.1, 3.2, 3.4, 3.5.

The console is there only while the board listens; at other times the application owns the port.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from hil.errors import RigError, UsageError, WireError
from hil.usb.jsonreply import json_object
from hil.usb.seriallog import SerialLog

FIRST_ANSWER = 5.0  # seconds
IDENTITY_ANSWER = 20.0  # a modem may have to power up first

_DEVICE_ID = re.compile(r"\b([0-9a-fA-F]{24})\b")
_VERSION = re.compile(r"system firmware version: (\S+)")
_MAC = re.compile(r"\b((?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2})\b")
_FIELDS = {
    "serial_number": re.compile(r"^Serial Number: (\S+)", re.MULTILINE),
    "imei": re.compile(r"^IMEI: (\w+)", re.MULTILINE),
    "iccid": re.compile(r"^ICCID: (\w+)", re.MULTILINE),
    "radio_version": re.compile(r"^Cell Radio Version: (.+?)\r?$", re.MULTILINE),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What key ``i`` tells. The device secret, which it tells too, is not kept."""

    device_id: str
    serial_number: str | None = None
    imei: str | None = None
    iccid: str | None = None
    radio_version: str | None = None


class Security(IntEnum):
    """Answers to the dialogue's question for the security of a network."""

    NONE = 0
    WEP = 1
    WPA = 2
    WPA2 = 3
    WPA3 = 6


class Cipher(IntEnum):
    """Answers to the dialogue's question for the cipher."""

    AES = 1
    TKIP = 2
    AES_TKIP = 3


@dataclass(frozen=True, slots=True)
class WifiCredentials:
    """A network to store. ``security`` and ``cipher`` are used only if the board did not see the network."""

    ssid: str
    password: str = ""
    security: Security = Security.WPA2
    cipher: Cipher = Cipher.AES


def parse_identity(text: str) -> Identity:
    """Read the answer to ``i`` in any of its three shapes. Raises ``WireError``."""
    found = _DEVICE_ID.search(text)
    if found is None:
        raise WireError(
            "no device id in the answer of the console", expected="24 hex digits", found=repr(text[:80])
        )
    rest = {name: hit[1] for name, pattern in _FIELDS.items() if (hit := pattern.search(text))}
    return Identity(found[1].lower(), **rest)


def parse_version(text: str) -> str:
    """Read the answer to ``v``. Raises ``WireError``."""
    found = _VERSION.search(text)
    if found is None:
        raise WireError("no version in the answer of the console", found=repr(text[:80]))
    return found[1]


def parse_mac(text: str) -> str:
    """Read the answer to ``m``, in lower case. Raises ``WireError``."""
    found = _MAC.search(text)
    if found is None:
        raise WireError("no MAC address in the answer of the console", found=repr(text[:80]))
    return found[1].lower()


def parse_describe(text: str) -> dict[str, Any]:
    """Read the answer to ``s``: the describe object with ``p`` and ``m``. Raises ``WireError``."""
    start, end = text.find("{"), text.rfind("}")
    return json_object(text[start : end + 1], "the answer of the console")


class Console:
    """The console of a board in listening mode, spoken to through its serial log."""

    def __init__(self, log: SerialLog) -> None:
        self._log = log

    def identity(self) -> Identity:
        return parse_identity(self._ask(b"i", IDENTITY_ANSWER))

    def version(self) -> str:
        return parse_version(self._ask(b"v"))

    def mac(self) -> str:
        return parse_mac(self._ask(b"m"))

    def describe(self) -> dict[str, Any]:
        return parse_describe(self._ask(b"s"))

    def leave(self) -> None:
        """Leave listening mode."""
        self._log.write(b"x")

    def set_wifi(self, credentials: WifiCredentials, within: float = 60.0) -> None:
        """Store a network by the ``w`` dialogue. Raises ``RigError`` if the board does not save it."""
        if not 1 <= len(credentials.ssid.encode()) <= 32:
            raise UsageError("SSID has the wrong length", expected="1 to 32 bytes", found=credentials.ssid)
        WifiDialogue(self._log, credentials).run(within)

    def _ask(self, key: bytes, first: float = FIRST_ANSWER) -> str:
        mark = self._log.mark()
        self._log.write(key)
        answer = self._log.until_idle(mark, first)
        if not answer:
            raise RigError(
                f"no answer to {key.decode()!r} from the console of {self._log.name}",
                expected=f"an answer within {first:g} s",
                hint="is the board in listening mode (blue light)? Does ModemManager hold the port?",
            )
        return answer


class WifiDialogue:
    """The ``w`` dialogue, driven by its prompts: which ones come depends on what the board saw in the air.

    A prompt is answered where it ends; text before it may arrive in any portions.
    """

    _DONE = re.compile(r"(?:Particle|Spark) <3 you!")
    _FAILED = re.compile(r"Derp\. Sorry")

    def __init__(self, log: SerialLog, credentials: WifiCredentials) -> None:
        self._log = log
        self._prompts = (
            (r"SSID: $", credentials.ssid),
            (r"Security 0=unsecured[^\n:]*: $", str(int(credentials.security))),
            (r"Security Cipher [^\n:]*: $", str(int(credentials.cipher))),
            (r"Password: $", credentials.password),
        )
        prompts = "|".join(f"(?P<p{number}>{pattern})" for number, (pattern, _) in enumerate(self._prompts))
        self._next = re.compile(
            rf"{prompts}|(?P<done>{self._DONE.pattern})|(?P<failed>{self._FAILED.pattern})"
        )

    def run(self, within: float) -> None:
        place = self._log.mark()
        self._log.write(b"w")
        for _ in range(12):  # an SSID prompt may repeat; a dialogue that goes on for ever is broken
            try:
                found, place = self._log.find(self._next, within, since=place)
            except AssertionError as error:
                raise RigError(
                    "Wi-Fi dialogue got stuck", expected="a known prompt", found=str(error)
                ) from error
            if found["done"] is not None:
                return
            if found["failed"] is not None:
                break
            answer = next(
                text for number, (_, text) in enumerate(self._prompts) if found[f"p{number}"] is not None
            )
            self._log.write(answer.encode() + b"\r")
        raise RigError(f"{self._log.name} did not save the Wi-Fi credentials", found="the board said so")
