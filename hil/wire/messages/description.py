"""What a device tells about itself: its modules (system Describe) and its API (application Describe).

Sources: protocol fact sheet 3.3 for both forms, 11.3 for the JSON of real boards, 11.4 for the protobuf form
that Device OS sends from 5.5.0 on, section 5 for the module function codes. How a Describe travels is in
``messages_describe``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hil.device.modules import FUNCTION_LETTERS
from hil.device.protobuf import Fields, Writer
from hil.errors import UsageError, WireError
from hil.wire.messages.calls import VariableType

VALIDITY_OK = 30  # integrity 2, dependencies 4, range 8, platform 16
VALIDITY_DEPENDENCIES = 4

_FUNCTION_LETTERS = {int(function): letter for function, letter in FUNCTION_LETTERS.items()}
_FUNCTION_CODES = {letter: code for code, letter in _FUNCTION_LETTERS.items()}
_STORE_CODES = {"m": 0, "f": 1, "b": 2, "t": 3}
_STORE_LETTERS = {code: letter for letter, code in _STORE_CODES.items()}


@dataclass(frozen=True, slots=True)
class Dependency:
    """A module that another one needs, at ``version`` or later; ``function`` is a letter as in ``ModuleInfo``."""

    function: str
    index: int
    version: int


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """One module of a device.

    ``function``: ``n`` none, ``r`` resource, ``b`` bootloader, ``m`` monolithic, ``s`` system part, ``u`` user
    part, ``c`` NCP, ``a`` radio stack; ``store``: ``m`` main, ``f`` factory, ``b`` backup, ``t`` scratch. A code
    without a letter (settings 6, asset 9) stands as its decimal digits. ``max_size`` and ``size`` are bytes;
    ``size`` is known to the protobuf form only. ``checked`` and ``valid`` are validity bits. ``sha256`` (32
    bytes) is there for a user part.
    """

    function: str
    index: int
    version: int
    store: str = "m"
    max_size: int = 0
    checked: int = VALIDITY_OK
    valid: int = VALIDITY_OK
    sha256: bytes | None = None
    dependencies: tuple[Dependency, ...] = ()
    size: int | None = None

    @property
    def dependencies_met(self) -> bool:
        """False for a module that puts the device into safe mode."""
        return not self.checked & ~self.valid & VALIDITY_DEPENDENCIES


@dataclass(frozen=True, slots=True)
class SystemDescribe:
    """The modules of a device and, on cellular boards, what names its modem.

    ``platform_id`` is missing in the protobuf form: the Hello has it.
    """

    platform_id: int | None
    modules: tuple[ModuleInfo, ...]
    imei: str | None = None
    iccid: str | None = None
    modem_version: str | None = None

    def to_json(self) -> bytes:
        """The payload of Device OS before 5.5.0: no white space, keys in the device's order."""
        identity = {
            "p": self.platform_id,
            "imei": self.imei,
            "iccid": self.iccid,
            "cellfw": self.modem_version,
        }
        document: dict[str, Any] = {key: value for key, value in identity.items() if value is not None}
        document["m"] = [_module_to_json(module) for module in self.modules]
        return _dump(document)

    @classmethod
    def from_json(cls, payload: bytes) -> SystemDescribe:
        """The modules in a JSON Describe; other keys are passed over. Raises ``WireError``."""
        document = _Object(_load(payload))
        return cls(
            platform_id=document.number("p") if "p" in document else None,
            modules=tuple(_module_from_json(_Object(item)) for item in document.items("m")),
            imei=document.optional_text("imei"),
            iccid=document.optional_text("iccid"),
            modem_version=document.optional_text("cellfw"),
        )

    def to_protobuf(self) -> bytes:
        """The payload of Device OS 5.5.0 and later; zero and empty values are left out."""
        writer = Writer()
        for module in self.modules:
            writer.message(1, _module_to_protobuf(module))
        return (
            writer.text(2, self.imei or "")
            .text(3, self.iccid or "")
            .text(4, self.modem_version or "")
            .finish()
        )

    @classmethod
    def from_protobuf(cls, payload: bytes) -> SystemDescribe:
        """The modules in a protobuf Describe; unknown fields are passed over. Raises ``WireError``."""
        fields = Fields(payload)
        return cls(
            platform_id=None,
            modules=tuple(_module_from_protobuf(Fields(item)) for item in fields.all(1)),
            imei=fields.text(2) or None,
            iccid=fields.text(3) or None,
            modem_version=fields.text(4) or None,
        )


@dataclass(frozen=True, slots=True)
class ApplicationDescribe:
    """The functions and variables of an application, in the order the device lists them."""

    functions: tuple[str, ...] = ()
    variables: dict[str, VariableType] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The payload, the same at every version: ``{"f":[...],"v":{...}}``."""
        variables = {name: int(type_) for name, type_ in self.variables.items()}
        return _dump({"f": list(self.functions), "v": variables})

    @classmethod
    def from_json(cls, payload: bytes) -> ApplicationDescribe:
        """The API in a Describe; other keys are passed over. Raises ``WireError``."""
        document = _Object(_load(payload))
        functions = tuple(_text(name, "function name") for name in document.items("f"))
        variables = _Object(document.get("v"))
        return cls(
            functions,
            {_text(name, "variable name"): _variable_type(variables.number(name)) for name in variables},
        )


def _variable_type(number: int) -> VariableType:
    try:
        return VariableType(number)
    except ValueError as error:
        raise WireError("variable type", expected="1, 2, 4 or 9", found=str(number)) from error


# JSON


class _Object:
    """A JSON object of unknown origin, read key by key; every reader raises ``WireError``."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise WireError("Describe", expected="a JSON object", found=repr(value)[:60])
        self._value = value

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def get(self, key: str) -> object:
        if key not in self._value:
            raise WireError(f"Describe without {key!r}", found=repr(self._value)[:60])
        return self._value[key]

    def number(self, key: str) -> int:
        """A number that is not negative; the index is one in a string."""
        value = self.get(key)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
            raise WireError(f"Describe key {key!r}", expected="a 32-bit number", found=repr(value)[:60])
        return value

    def text(self, key: str) -> str:
        return _text(self.get(key), f"key {key!r}")

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self else None

    def items(self, key: str) -> list[object]:
        value = self.get(key)
        if not isinstance(value, list):
            raise WireError(f"Describe key {key!r}", expected="a list", found=repr(value)[:60])
        return value


def _text(value: object, what: str) -> str:
    """``value`` if it is text that can be written again (JSON allows halves of surrogate pairs)."""
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise WireError(f"Describe: {what}", expected="text", found=repr(value)[:60])
    return value


def _load(payload: bytes) -> object:
    try:
        document: object = json.loads(payload.decode())
    except (ValueError, RecursionError) as error:
        raise WireError("Describe is not JSON", found=repr(payload[:60])) from error
    return document


def _dump(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _module_to_json(module: ModuleInfo) -> dict[str, Any]:
    document: dict[str, Any] = {
        "s": module.max_size,
        "l": module.store,
        "vc": module.checked,
        "vv": module.valid,
    }
    if module.sha256 is not None:
        document["u"] = module.sha256.hex().upper()
    document |= {"f": module.function, "n": str(module.index), "v": module.version}
    document["d"] = [
        {"f": needed.function, "n": str(needed.index), "v": needed.version} for needed in module.dependencies
    ]
    return document


def _module_from_json(item: _Object) -> ModuleInfo:
    needed = [_Object(value) for value in item.items("d")]
    return ModuleInfo(
        function=item.text("f"),
        index=item.number("n"),
        version=item.number("v"),
        store=item.text("l"),
        max_size=item.number("s"),
        checked=item.number("vc"),
        valid=item.number("vv"),
        sha256=_sha256_from_text(item.text("u")) if "u" in item else None,
        dependencies=tuple(Dependency(one.text("f"), one.number("n"), one.number("v")) for one in needed),
    )


def _sha256_from_text(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    return _sha256(value, text)


def _sha256(value: bytes, found: str) -> bytes:
    if len(value) != 32:
        raise WireError("hash of a module", expected="32 bytes", found=found[:80])
    return value


# Protobuf


def _module_to_protobuf(module: ModuleInfo) -> Writer:
    writer = (
        Writer()
        .uint(1, _code(_FUNCTION_CODES, module.function))
        .uint(2, module.index)
        .uint(3, module.version)
        .uint(4, _code(_STORE_CODES, module.store))
        .uint(5, module.max_size)
        .fixed32(6, module.checked)
        .fixed32(7, module.valid)
        .data(8, module.sha256 or b"")
    )
    for needed in module.dependencies:
        dependency = Writer().uint(1, _code(_FUNCTION_CODES, needed.function))
        writer.message(9, dependency.uint(2, needed.index).uint(3, needed.version))
    return writer.uint(11, module.size or 0)


def _module_from_protobuf(fields: Fields) -> ModuleInfo:
    hash_ = fields.data(8)
    return ModuleInfo(
        function=_letter(_FUNCTION_LETTERS, fields.uint(1)),
        index=fields.uint(2),
        version=fields.uint(3),
        store=_letter(_STORE_LETTERS, fields.uint(4)),
        max_size=fields.uint(5),
        checked=fields.uint(6),
        valid=fields.uint(7),
        sha256=_sha256(hash_, hash_.hex()) if hash_ else None,
        dependencies=tuple(_dependency_from_protobuf(Fields(item)) for item in fields.all(9)),
        size=fields.uint(11) or None,
    )


def _dependency_from_protobuf(fields: Fields) -> Dependency:
    return Dependency(_letter(_FUNCTION_LETTERS, fields.uint(1)), fields.uint(2), fields.uint(3))


def _letter(letters: dict[int, str], code: int) -> str:
    return letters.get(code, str(code))


def _code(codes: dict[str, int], letter: str) -> int:
    if letter in codes:
        return codes[letter]
    if letter.isascii() and letter.isdigit():
        return int(letter)
    raise UsageError("Describe", expected=f"one of {', '.join(codes)} or a number", found=repr(letter))
