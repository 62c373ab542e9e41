"""The listening-mode console: single keys and two small dialogues on the USB serial port.

Facts: USB fact sheet 3 (keys, the three shapes of ``i``, the credential dialogue). YMODEM is not there: key ``f`` is
answered as Device OS 6 does, which refuses it; older releases on a virtual board ignore the key.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from hil.device.platforms import Radio
from hil.device.releases import version_tuple
from hil.virtual.deviceos.control_handlers import diagnostics_json
from hil.virtual.deviceos.osystem import OperatingSystem
from hil.virtual.hardware.machine import Machine
from hil.virtual.hardware.stored import NETWORK_IN_THE_AIR, WifiNetwork

Dialogue = Generator[str, str, None]  # yields prompts, is sent lines

_CLAIM_CODE_LENGTH = 63
_SSID_MAX = 32
_NO_SECURITY, _WEP, _WPA2, _WPA3 = "0", "1", "3", "6"
_WAITING = "Waiting for the binary file to be sent ... (press 'a' to abort)\r\n"
_CANCEL = "\x18" * 4
_NO_YMODEM = "Serial/YModem flashing is no longer supported\r\n"


class Console:
    """Keys in, text out. ``write`` takes what the board prints."""

    def __init__(self, system: OperatingSystem, write: Callable[[bytes], None]) -> None:
        self._system = system
        self._machine: Machine = system.machine
        self._write = write
        self._dialogue: Dialogue | None = None
        self._line = ""
        self._keys: dict[str, Callable[[], None]] = {
            "i": self._identity,
            "v": lambda: self._print(f"system firmware version: {self._machine.device_os}\n\r\n"),
            "m": lambda: self._print(f"Your device MAC address is\r\n{self._mac_address()}\r\n"),
            "s": lambda: self._print(_module_text(self._machine)),
            "d": lambda: self._print(diagnostics_json(system).decode() + "\r\n"),
            "c": lambda: self._print(
                f"Device claimed: {'yes' if self._machine.settings.claimed else 'no'}\r\n"
            ),
            "C": lambda: self._begin(self._claim()),
            "L": lambda: self._machine.request_reset("safe_mode", mode="safe_listening", delay=0.0),
            "f": self._ymodem,
            "x": self._leave,
        }
        if self._machine.platform.radio is Radio.WIFI:
            self._keys["w"] = lambda: self._begin(self._credentials())

    def receive(self, data: bytes) -> None:
        """Characters from the host; unknown keys are ignored."""
        for character in data.decode("latin-1"):
            if self._dialogue is not None:
                self._edit(character)
            elif character in self._keys:
                self._keys[character]()

    # -- keys ----------------------------------------------------------------------------------------

    def _identity(self) -> None:
        machine = self._machine
        device_id = machine.device_id.hex()
        lines = self._properties()
        if not lines:
            self._print(f"Your device id is {device_id}\r\n")
            return
        self._print("".join(f"{line}\r\n" for line in (f"Device ID: {device_id}", *lines)))

    def _mac_address(self) -> str:
        """Cellular boards have the command and no address to show (USB fact sheet 3.1)."""
        wifi = self._machine.platform.radio is Radio.WIFI
        return self._machine.mac_address if wifi else "00:00:00:00:00:00"

    def _properties(self) -> list[str]:
        machine = self._machine
        properties = {
            "Device Secret": machine.settings.device_secret,
            "Serial Number": machine.stored.serial_number,
        }
        if machine.platform.radio is Radio.CELLULAR:
            properties |= {
                "IMEI": machine.imei,
                "ICCID": machine.iccid,
                "Cell Radio Version": machine.modem_version,
            }
        return [f"{name}: {value}" for name, value in properties.items() if value]

    def _ymodem(self) -> None:
        if version_tuple(self._machine.device_os) >= (6, 0, 0):
            self._print(_WAITING + _CANCEL + _NO_YMODEM)

    def _leave(self) -> None:
        self._system.stop_listening()

    # -- dialogues -----------------------------------------------------------------------------------

    def _claim(self) -> Dialogue:
        code = yield "Enter 63-digit claim code: "
        if len(code) == _CLAIM_CODE_LENGTH:
            self._machine.settings.claim_code = code
            self._print(f"Claim code set to: {code}\r\n")
        else:
            self._print("Sorry, claim code is not 63 characters long. Claim code unchanged.\r\n")

    def _credentials(self) -> Dialogue:
        """The security of a network that the scan does not see is asked for."""
        ssid = ""
        while not ssid:
            ssid = (yield "SSID: ")[:_SSID_MAX]
        security = _WPA2 if ssid == NETWORK_IN_THE_AIR else ""
        while security not in self._securities():
            security = yield "Security 0=unsecured, 1=WEP, 2=WPA, 3=WPA2: "
        if security not in (_NO_SECURITY, _WEP) and ssid != NETWORK_IN_THE_AIR:
            cipher = ""
            while cipher not in ("1", "2", "3"):
                cipher = yield "Security Cipher 1=AES, 2=TKIP, 3=AES+TKIP: "
        password = "" if security == _NO_SECURITY else (yield "Password: ")
        self._print("Thanks! Wait while I save those credentials...\r\n\r\n")
        self._store(WifiNetwork(ssid, int(security), password))
        self._print("Awesome. Now we'll connect!\r\n\r\n    Particle <3 you!\r\n\r\n")
        self._leave()

    def _securities(self) -> tuple[str, ...]:
        newest = version_tuple(self._machine.device_os) >= (5, 0, 0)
        return ("0", "1", "2", "3", _WPA3) if newest else ("0", "1", "2", "3")

    def _store(self, network: WifiNetwork) -> None:
        others = [known for known in self._machine.stored.networks if known.ssid != network.ssid]
        self._machine.stored.networks = [*others, network]
        self._machine.save_stored()

    # -- line editor ---------------------------------------------------------------------------------

    def _begin(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._line = ""
        self._print(next(dialogue))

    def _edit(self, character: str) -> None:
        if character in "\r\n":
            self._print("\r\n")
            self._answer()
        elif character in "\b\x7f":
            if self._line:
                self._line = self._line[:-1]
                self._print("\b \b")
        elif character.isprintable():
            self._line += character
            self._print(character)

    def _answer(self) -> None:
        line, self._line = self._line, ""
        assert self._dialogue is not None
        try:
            self._print(self._dialogue.send(line))
        except StopIteration:
            self._dialogue = None

    def _print(self, text: str) -> None:
        self._write(text.encode("latin-1"))


def _module_text(machine: Machine) -> str:
    return machine.system_describe().to_json().decode() + "\r\n"
