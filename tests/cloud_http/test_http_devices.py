"""Devices over HTTP, with a scripted Photon online and another device that never was."""

from __future__ import annotations

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hil.cloud.config import OfflineStatus, Policy
from hil.device.keys import generate_device_key, load_public
from hil.device.platforms import Transport
from tests.cloud_http.live import DEVICE_ID, PATIENCE, USER, Live, live_cloud
from tests.cloud_http.scripted_device import ScriptedDevice

OFFLINE_ID = "3d00340007473433373737aa"


@pytest.fixture(scope="module", autouse=True)
def offline(live: Live) -> None:
    """A cellular device that never connects, somebody else's, and nobody's."""
    live.do(lambda: live.cloud.devices.register(OFFLINE_ID, platform_id=13, owner=USER, name="shed"))


def foreign(live: Live, device_id: str, owner: str | None = "eve") -> None:
    live.do(lambda: live.cloud.devices.register(device_id, platform_id=6, owner="eve", name="theirs"))
    if owner is None:
        live.do(lambda: live.cloud.services.registry.unclaim("eve", device_id))


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.usefixtures("photon")
def test_the_list_says_online_and_connected(api: httpx.Client) -> None:
    listed = api.get("/v1/devices").json()
    # The latest handshake comes first.
    assert [(item["id"], item["online"], item["connected"]) for item in listed] == [
        (DEVICE_ID, True, True),
        (OFFLINE_ID, False, False),
    ]
    first, second = listed
    assert first["functions"] == ["led", "silent"]
    assert first["variables"] == {
        "temperature": "double",
        "count": "int32",
        "ready": "bool",
        "label": "string",
        "broken": "double",
    }
    assert (first["platform_id"], first["product_id"], first["cellular"]) == (6, 6, False)
    assert (second["cellular"], second["functions"], second["last_handshake_at"]) == (True, [], None)
    assert first["last_handshake_at"].endswith("Z")
    assert first["last_ip_address"] == "127.0.0.1"


def test_the_list_can_be_narrowed(api: httpx.Client) -> None:
    def ids(**wanted: str) -> list[str]:
        return [item["id"] for item in api.get("/v1/devices", params=wanted).json()]

    assert ids(deviceName="SHE") == [OFFLINE_ID]
    assert ids(deviceId="37aa") == [OFFLINE_ID]
    assert ids(serialNumber="P0") == []


@pytest.mark.parametrize("address", [DEVICE_ID, DEVICE_ID.upper(), "gate"])
@pytest.mark.usefixtures("photon")
def test_a_device_by_id_and_by_name(api: httpx.Client, address: str) -> None:
    assert api.get(f"/v1/devices/{address}").json()["id"] == DEVICE_ID


def test_an_unknown_device(api: httpx.Client) -> None:
    answer = api.get("/v1/devices/nobody")
    body = answer.json()
    assert answer.status_code == 404
    assert body["ok"] is False
    assert body["info"] == body["error"] == "I didn't recognize that device name or ID"


@pytest.mark.usefixtures("photon")
@pytest.mark.parametrize(
    "request_",
    [
        {"json": {"args": "on"}},
        {"json": {"arg": "on"}},
        {"data": {"arg": "on"}},
        {"data": {"args": "on", "format": "json"}},
    ],
)
def test_a_function_call(api: httpx.Client, request_: dict[str, dict[str, str]]) -> None:
    answer = api.post("/v1/devices/gate/led", **request_)  # type: ignore[arg-type]
    assert answer.json() == {"id": DEVICE_ID, "name": "led", "connected": True, "return_value": 2}


@pytest.mark.usefixtures("photon")
def test_a_function_call_without_argument_raw(api: httpx.Client) -> None:
    assert api.post(f"/v1/devices/{DEVICE_ID}/led", params={"format": "raw"}).text == "0"


@pytest.mark.parametrize(
    ("name", "value", "raw"),
    [("temperature", 21.5, "21.5"), ("count", -7, "-7"), ("ready", True, "true"), ("label", "grün", "grün")],
)
@pytest.mark.usefixtures("photon")
def test_a_variable(api: httpx.Client, name: str, value: object, raw: str) -> None:
    body = api.get(f"/v1/devices/{DEVICE_ID}/{name}").json()
    assert (body["cmd"], body["name"], body["result"]) == ("VarReturn", name, value)
    core = body["coreInfo"]
    assert (core["deviceID"], core["connected"], core["name"]) == (DEVICE_ID, True, "gate")
    assert api.get(f"/v1/devices/{DEVICE_ID}/{name}", params={"format": "raw"}).text == raw


@pytest.mark.usefixtures("photon")
def test_a_variable_that_json_cannot_write(api: httpx.Client) -> None:
    assert api.get(f"/v1/devices/{DEVICE_ID}/broken").json()["result"] is None


@pytest.mark.usefixtures("photon")
def test_what_a_device_does_not_have(api: httpx.Client) -> None:
    function = api.post(f"/v1/devices/{DEVICE_ID}/nothing", json={"args": ""})
    assert (function.status_code, function.json()["error"]) == (404, "Function nothing not found")
    variable = api.get(f"/v1/devices/{DEVICE_ID}/nothing")
    assert (variable.status_code, variable.json()["error"]) == (404, "Variable not found")


def answers_about_the_shed(api: httpx.Client) -> set[tuple[int, str, str]]:
    """Status and both texts of every answer that needs the device itself."""
    answers = [
        api.post("/v1/devices/shed/led", json={"args": ""}),
        api.get("/v1/devices/shed/temperature"),
        api.put("/v1/devices/shed", json={"signal": "1"}),
    ]
    bodies = [(answer.status_code, answer.json()) for answer in answers]
    return {(status, body["error"], body["error_description"]) for status, body in bodies}


def test_an_offline_device_is_a_bad_request_and_no_unknown_function(api: httpx.Client) -> None:
    """Issue 6, point 10."""
    described = f"The device is not connected: device shed ({OFFLINE_ID}) is offline"
    assert answers_about_the_shed(api) == {(400, "The device is not connected", described)}
    assert api.put("/v1/devices/shed/ping").json() == {"online": False, "ok": True}


def test_an_offline_device_is_not_found_where_the_policy_follows_the_documents() -> None:
    """Issue 6, point 10."""
    with live_cloud(policy=Policy(offline_status=OfflineStatus.NOT_FOUND)) as live:
        live.do(lambda: live.cloud.devices.register(OFFLINE_ID, platform_id=13, owner=USER, name="shed"))
        statuses = {(status, error) for status, error, _ in answers_about_the_shed(live.client())}
    assert statuses == {(404, "The device is not connected")}


def test_ping_and_signal(api: httpx.Client, photon: ScriptedDevice) -> None:
    assert api.put("/v1/devices/gate/ping").json() == {"online": True, "ok": True}
    for word, on in (("1", True), ("0", False)):
        answer = api.put("/v1/devices/gate", json={"signal": word}).json()
        assert (answer["id"], answer["connected"], answer["signaling"]) == (DEVICE_ID, True, on)
        assert photon.signals.get(timeout=PATIENCE) is on


def test_rename_and_notes(api: httpx.Client) -> None:
    named = api.put(f"/v1/devices/{OFFLINE_ID}", json={"name": "hut"}).json()
    assert (named["id"], named["name"]) == (OFFLINE_ID, "hut")
    noted = api.put("/v1/devices/hut", data={"notes": "by the pond"}).json()
    assert noted["notes"] == "by the pond"
    api.put("/v1/devices/hut", json={"name": "shed"})
    device = api.get("/v1/devices/shed").json()
    assert (device["name"], device["notes"]) == ("shed", "by the pond")


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "x" * 65}, {"signal": "perhaps"}, {"colour": "red"}]
)
def test_a_change_that_means_nothing(api: httpx.Client, body: dict[str, str]) -> None:
    answer = api.put(f"/v1/devices/{OFFLINE_ID}", json=body)
    assert (answer.status_code, answer.json()["ok"]) == (400, False)


def test_somebody_elses_device(live: Live, api: httpx.Client) -> None:
    device_id = "e00fce680000000000000001"
    foreign(live, device_id)
    answers = [
        api.get(f"/v1/devices/{device_id}"),
        api.put(f"/v1/devices/{device_id}", json={"name": "mine"}),
        api.delete(f"/v1/devices/{device_id}"),
        api.post("/v1/devices", json={"id": device_id, "request_transfer": False}),
        api.post("/v1/devices", json={"id": device_id, "request_transfer": True}),
        api.post(
            f"/v1/provisioning/{device_id}", data={"publicKey": pem(generate_device_key(Transport.TCP))}
        ),
    ]
    assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert {answer.json()["error"] for answer in answers} == {"That belongs to someone else."}
    assert live.do(lambda: live.cloud.devices.get(device_id)).owner == "eve"


def test_claim_and_give_up(live: Live, api: httpx.Client) -> None:
    device_id = "e00fce680000000000000002"
    foreign(live, device_id, owner=None)
    claimed = api.post("/v1/devices", json={"id": device_id.upper(), "request_transfer": False}).json()
    assert claimed == {
        "ok": True,
        "user_id": USER,
        "id": device_id,
        "deviceID": device_id,
        "connected": False,
        "claimed": True,
    }
    assert api.delete(f"/v1/devices/{device_id}").json() == {"ok": True}
    assert live.do(lambda: live.cloud.devices.get(device_id)).owner is None


@pytest.mark.parametrize(("id_", "status"), [("f" * 24, 404), ("dut1", 400), ("", 400)])
def test_what_cannot_be_claimed(api: httpx.Client, id_: str, status: int) -> None:
    answer = api.post("/v1/devices", json={"id": id_})
    assert (answer.status_code, answer.json()["ok"]) == (status, False)


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("form", [True, False], ids=["form", "json"])
def test_a_key_is_put_on_file(live: Live, api: httpx.Client, transport: Transport, form: bool) -> None:
    device_id = f"e00fce6800000000000{form:d}{transport.port}"
    key = generate_device_key(transport)
    algorithm = "rsa" if transport is Transport.TCP else "ecc"
    fields = {
        "deviceID": device_id,
        "publicKey": pem(key),
        "filename": "cli",
        "order": "manual_1",
        "algorithm": algorithm,
    }
    path = f"/v1/provisioning/{device_id}"
    answer = api.post(path, data=fields) if form else api.post(path, json=fields)
    assert answer.json()["ok"] is True
    on_file = live.do(lambda: live.cloud.devices.get(device_id)).keys[transport]
    assert load_public(on_file).public_numbers() == key.public_key().public_numbers()


@pytest.mark.parametrize(
    ("device", "fields"),
    [
        (OFFLINE_ID, {"publicKey": "not a key"}),
        (OFFLINE_ID, {}),
        ("gate", {"publicKey": "not a key"}),
    ],
)
def test_a_key_that_is_none(api: httpx.Client, device: str, fields: dict[str, str]) -> None:
    answer = api.post(f"/v1/provisioning/{device}", data=fields)
    assert (answer.status_code, answer.json()["ok"]) == (400, False)


def test_a_key_on_file_is_not_replaced_by_whoever_knows_the_id(live: Live, api: httpx.Client) -> None:
    """Issue 6, point 5: a device without an owner keeps its key until somebody has claimed it."""
    device_id = "e00fce680000000000009999"
    path = f"/v1/provisioning/{device_id}"
    first, second = (pem(generate_device_key(Transport.DTLS)) for _ in range(2))
    assert api.post(path, json={"publicKey": first, "algorithm": "ecc"}).status_code == 200
    assert api.post(path, json={"publicKey": first, "algorithm": "ecc"}).status_code == 200
    stranger = live.client("eve")
    on_file = live.do(lambda: dict(live.cloud.devices.get(device_id).keys))
    for client in (stranger, api):
        refused = client.post(path, json={"publicKey": second, "algorithm": "ecc"})
        assert (refused.status_code, "no owner" in refused.json()["error"]) == (400, True)
    assert live.do(lambda: live.cloud.devices.get(device_id)).keys == on_file
    assert api.post("/v1/devices", json={"id": device_id}).status_code == 200
    assert api.post(path, json={"publicKey": second, "algorithm": "ecc"}).status_code == 200
    assert api.delete(f"/v1/devices/{device_id}").status_code == 200


def test_a_claim_code(api: httpx.Client) -> None:
    body = api.post("/v1/device_claims").json()
    assert len(body["claim_code"]) == 63
    assert OFFLINE_ID in body["device_ids"]


@pytest.mark.usefixtures("photon")
def test_the_account_counts_its_devices(api: httpx.Client) -> None:
    body = api.get("/v1/user").json()
    assert (body["username"], body["wifi_device_count"], body["cellular_device_count"]) == (USER, 1, 1)
