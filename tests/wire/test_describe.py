"""Describes of real boards (protocol fact sheet 11.3, 11.4), byte for byte; garbage."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hil.errors import UsageError, WireError
from hil.wire.messages import VariableType
from hil.wire.messages.description import ApplicationDescribe, Dependency, ModuleInfo, SystemDescribe

SHA = bytes(range(0xA0, 0xC0))
HASH = "A0A1A2A3A4A5A6A7A8A9AAABACADAEAFB0B1B2B3B4B5B6B7B8B9BABBBCBDBEBF"
OK = '"l":"m","vc":30,"vv":30'


def module(
    size: int, function: str, index: int, version: int, *needs: tuple[str, int, int], sha: bytes | None = None
) -> ModuleInfo:
    dependencies = tuple(Dependency(*need) for need in needs)
    return ModuleInfo(function, index, version, "m", size, 30, 30, sha, dependencies)


PHOTON = SystemDescribe(
    6,
    (
        module(16384, "b", 0, 1006),
        module(262144, "s", 1, 2302, ("s", 2, 207)),
        module(262144, "s", 2, 2302, ("s", 1, 2302), ("b", 0, 1003)),
        module(131072, "u", 1, 6, ("s", 2, 2302), sha=SHA),
    ),
)
PHOTON_JSON = (
    '{"p":6,"m":['
    f'{{"s":16384,{OK},"f":"b","n":"0","v":1006,"d":[]}},'
    f'{{"s":262144,{OK},"f":"s","n":"1","v":2302,"d":[{{"f":"s","n":"2","v":207}}]}},'
    f'{{"s":262144,{OK},"f":"s","n":"2","v":2302,'
    '"d":[{"f":"s","n":"1","v":2302},{"f":"b","n":"0","v":1003}]},'
    f'{{"s":131072,{OK},"u":"{HASH}","f":"u","n":"1","v":6,"d":[{{"f":"s","n":"2","v":2302}}]}}]}}'
)
BORON = SystemDescribe(
    13,
    (
        module(49152, "b", 0, 1006),
        module(671744, "s", 1, 2302, ("b", 0, 1005), ("a", 0, 202)),
        module(131072, "u", 1, 6, ("s", 1, 2302), sha=SHA),
        module(192512, "a", 0, 202),
    ),
    imei="352753090000001",
    iccid="89014103211118510720",
    modem_version="L0.0.00.00.05.08",
)
BORON_JSON = (
    '{"p":13,"imei":"352753090000001","iccid":"89014103211118510720","cellfw":"L0.0.00.00.05.08","m":['
    f'{{"s":49152,{OK},"f":"b","n":"0","v":1006,"d":[]}},'
    f'{{"s":671744,{OK},"f":"s","n":"1","v":2302,"d":[{{"f":"b","n":"0","v":1005}},{{"f":"a","n":"0","v":202}}]}},'
    f'{{"s":131072,{OK},"u":"{HASH}","f":"u","n":"1","v":6,"d":[{{"f":"s","n":"1","v":2302}}]}},'
    f'{{"s":192512,{OK},"f":"a","n":"0","v":202,"d":[]}}]}}'
)
ELECTRON = SystemDescribe(
    10,
    (
        module(16384, "b", 0, 1100),
        module(131072, "s", 1, 3302, ("s", 3, 3302)),
        module(131072, "s", 2, 3302, ("s", 1, 3302), ("b", 0, 1003)),
        module(131072, "s", 3, 3302, ("s", 2, 110)),
        module(131072, "u", 1, 6, ("s", 2, 3302), sha=SHA),
    ),
    imei="352753090000002",
    iccid="89014103211118510721",
    modem_version="23.20",
)
ELECTRON_JSON = (
    '{"p":10,"imei":"352753090000002","iccid":"89014103211118510721","cellfw":"23.20","m":['
    f'{{"s":16384,{OK},"f":"b","n":"0","v":1100,"d":[]}},'
    f'{{"s":131072,{OK},"f":"s","n":"1","v":3302,"d":[{{"f":"s","n":"3","v":3302}}]}},'
    f'{{"s":131072,{OK},"f":"s","n":"2","v":3302,'
    '"d":[{"f":"s","n":"1","v":3302},{"f":"b","n":"0","v":1003}]},'
    f'{{"s":131072,{OK},"f":"s","n":"3","v":3302,"d":[{{"f":"s","n":"2","v":110}}]}},'
    f'{{"s":131072,{OK},"u":"{HASH}","f":"u","n":"1","v":6,"d":[{{"f":"s","n":"2","v":3302}}]}}]}}'
)
ARGON = SystemDescribe(
    None,
    (
        replace(module(49152, "b", 0, 3100), size=47816),
        replace(module(573440, "s", 1, 6200, ("a", 0, 202), ("b", 0, 3100)), size=571008),
        replace(module(262144, "u", 2, 6, ("s", 1, 6200), sha=SHA), size=12292),
        module(1536000, "c", 0, 5),
        module(155648, "a", 0, 202),
    ),
)
ARGON_PROTOBUF = (
    "0a17 0802 189c18 28808003 351e000000 3d1e000000 58c8f502"
    "0a27 0804 1001 18b830 28808023 351e000000 3d1e000000 4a05 0808 18ca01 4a05 0802 189c18 5880ed22"
    f"0a42 0805 1002 1806 28808010 351e000000 3d1e000000 4220 {HASH} 4a07 0804 1001 18b830 588460"
    "0a12 0807 1805 2880e05d 351e000000 3d1e000000"
    "0a13 0808 18ca01 2880c009 351e000000 3d1e000000"
)


@pytest.mark.parametrize(
    ("describe", "text"),
    [(PHOTON, PHOTON_JSON), (BORON, BORON_JSON), (ELECTRON, ELECTRON_JSON)],
    ids=["photon", "boron", "electron"],
)
def test_json_of_the_boards(describe: SystemDescribe, text: str) -> None:
    assert describe.to_json() == text.encode()
    assert SystemDescribe.from_json(text.encode()) == describe


def test_the_photons_json_has_460_bytes() -> None:
    assert len(PHOTON.to_json()) == 460


def test_protobuf_of_the_argon() -> None:
    wire = bytes.fromhex(ARGON_PROTOBUF)
    assert len(wire) == 175
    assert ARGON.to_protobuf() == wire
    assert SystemDescribe.from_protobuf(wire) == ARGON


def test_protobuf_names_the_modem_and_numbers_the_stores() -> None:
    describe = SystemDescribe(
        None,
        (ModuleInfo("u", 1, 6, store="f"), ModuleInfo("9", 0, 1, store="t")),
        imei="1",
        iccid="2",
        modem_version="3",
    )
    wire = describe.to_protobuf()
    assert wire.hex() == (
        "0a12" "0805" "1001" "1806" "2001" "351e000000" "3d1e000000"
        "0a10" "0809" "1801" "2003" "351e000000" "3d1e000000"
        "120131" "1a0132" "220133"
    )  # fmt: skip
    assert SystemDescribe.from_protobuf(wire) == describe


def test_a_user_part_without_its_system_shows_it() -> None:
    broken = replace(PHOTON.modules[3], valid=26)
    document = json.loads(replace(PHOTON, modules=(broken,)).to_json())
    assert document["m"][0]["vv"] == 26
    assert not broken.dependencies_met
    assert PHOTON.modules[3].dependencies_met


@pytest.mark.parametrize(
    ("describe", "text"),
    [
        (
            ApplicationDescribe(("digitalread", "digitalwrite", "analogread", "analogwrite")),
            '{"f":["digitalread","digitalwrite","analogread","analogwrite"],"v":{}}',
        ),
        (ApplicationDescribe(), '{"f":[],"v":{}}'),
        (
            ApplicationDescribe(("led",), {"temp": VariableType.DOUBLE}),
            bytes.fromhex("7b2266223a5b226c6564225d2c2276223a7b2274656d70223a397d7d").decode(),
        ),
    ],
)
def test_application_describes(describe: ApplicationDescribe, text: str) -> None:
    assert describe.to_json() == text.encode()
    assert ApplicationDescribe.from_json(text.encode()) == describe


def test_other_halves_are_passed_over() -> None:
    combined = b'{"f":["led"],"v":{"t":2},' + PHOTON_JSON[1:].encode()
    assert SystemDescribe.from_json(combined) == PHOTON
    assert ApplicationDescribe.from_json(combined).variables == {"t": VariableType.INT}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\x80", "not JSON"),
        ("[]", "a JSON object"),
        ("{}", "without 'm'"),
        ('{"m":{}}', "a list"),
        ('{"m":[3]}', "a JSON object"),
        ('{"p":true,"m":[]}', "a 32-bit number"),
        ('{"p":-1,"m":[]}', "a 32-bit number"),
        ('{"imei":3,"m":[]}', "expected: text"),
        ('{"imei":"\\ud800","m":[]}', "expected: text"),
        (PHOTON_JSON.replace('"n":"0"', '"n":"x"'), "a 32-bit number"),
        (PHOTON_JSON.replace(HASH, "A0"), "32 bytes"),
        (PHOTON_JSON.replace(HASH, "zz"), "32 bytes"),
    ],
)
def test_broken_system_json(text: str, what: str) -> None:
    with pytest.raises(WireError, match=what):
        SystemDescribe.from_json(text.encode("latin-1"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"v":{}}', "without 'f'"),
        ('{"f":[],"v":[]}', "a JSON object"),
        ('{"f":[1],"v":{}}', "expected: text"),
        ('{"f":[],"v":{"t":3}}', "variable type"),
        ('{"f":[],"v":{"\\udc00":2}}', "expected: text"),
    ],
)
def test_broken_application_json(text: str, what: str) -> None:
    with pytest.raises(WireError, match=what):
        ApplicationDescribe.from_json(text.encode())


@pytest.mark.parametrize(
    ("wire", "what"),
    [("0a034205aa", "past the end"), ("0a034201aa", "32 bytes"), ("1201ff", "UTF-8"), ("0801", "bytes")],
)
def test_broken_protobuf(wire: str, what: str) -> None:
    with pytest.raises(WireError, match=what):
        SystemDescribe.from_protobuf(bytes.fromhex(wire))


def test_a_letter_without_a_code_cannot_be_sent() -> None:
    with pytest.raises(UsageError, match="'z'"):
        SystemDescribe(None, (ModuleInfo("z", 0, 1),)).to_protobuf()


@given(st.binary(max_size=60))
def test_garbage_protobuf_raises_only_wire_errors(data: bytes) -> None:
    for wire in (data, b"\x0a" + bytes((len(data),)) + data):
        try:
            describe = SystemDescribe.from_protobuf(wire)
        except WireError:
            continue
        assert describe.platform_id is None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("fvpmsldnu"), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=40) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
@example(b'{"f":["a"],"v":{"b":' + b"9" * 5000 + b"}}")
def test_garbage_json_raises_only_wire_errors(payload: bytes) -> None:
    for parse in (SystemDescribe.from_json, ApplicationDescribe.from_json):
        try:
            describe = parse(payload)
        except WireError:
            continue
        assert parse(describe.to_json()) == describe
