"""Uploads, bodies that are not what they say, and errors that are JSON whatever went wrong."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.cloud.http.app import create_app
from hil.cloud.http.body import safe_name
from hil.cloud.http.errors import translate
from hil.cloud.http.state import HttpOptions
from hil.errors import (
    AccountPaused,
    CloudError,
    DeviceOffline,
    DeviceTimeout,
    HilError,
    NotFound,
    NotOwner,
    Refused,
    WireError,
)
from tests.cloud_http.live import DEVICE_ID, FIRMWARE, PATIENCE, USER, Live, live_cloud, scripted_photon
from tests.cloud_http.scripted_device import ScriptedDevice

BOUNDARY = "----clients-choice"


def multipart(*files: tuple[str, str, bytes], **fields: str) -> bytes:
    """A body as clients send it: ``files`` are part name, file name and content."""
    lines = []
    for part, name, data in files:
        head = f'Content-Disposition: form-data; name="{part}"; filename="{name}"'
        lines += [f"--{BOUNDARY}", head, "Content-Type: application/octet-stream", "", data.decode("latin-1")]
    for part, value in fields.items():
        lines += [f"--{BOUNDARY}", f'Content-Disposition: form-data; name="{part}"', "", value]
    return "\r\n".join([*lines, f"--{BOUNDARY}--", ""]).encode("latin-1")


def upload(api: httpx.Client, body: bytes, *, chunked: bool = False) -> httpx.Response:
    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 700):
            yield body[start : start + 700]

    headers = {"Content-Type": f"multipart/form-data;boundary={BOUNDARY}"}
    return api.put(f"/v1/devices/{DEVICE_ID}", content=pieces() if chunked else body, headers=headers)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "with length"])
@pytest.mark.parametrize("name", ["fw.bin", "/home/ada/../fw.bin", "..\\fw.bin"])
def test_an_upload_is_flashed(
    live: Live, api: httpx.Client, photon: ScriptedDevice, chunked: bool, name: str
) -> None:
    with live.coming_back():
        answer = upload(api, multipart(("file", name, FIRMWARE), latest="true"), chunked=chunked)
        assert answer.json() == {
            "ok": True,
            "id": DEVICE_ID,
            "status": "Update started",
            "message": "Update started",
        }
        assert photon.flashed.get(timeout=PATIENCE) == FIRMWARE


@pytest.mark.usefixtures("photon")
@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([("file", "fw.bin", b"no module at all" * 100)], "not a firmware module"),
        ([("file", "fw.bin", b"")], "fw.bin is empty"),
        ([("file", "src/main.ino", b"void loop(){}")], "no compiler: main.ino"),
        ([("file", "bundle.zip", b"PK")], "no bundles"),
        ([("file", "a.bin", FIRMWARE), ("file2", "b.bin", FIRMWARE)], "one binary at a time"),
    ],
)
def test_an_upload_that_is_refused(
    api: httpx.Client, files: list[tuple[str, str, bytes]], reason: str
) -> None:
    answer = upload(api, multipart(*files))
    assert answer.status_code == 400
    assert reason in answer.json()["error_description"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'"x"', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"{", ""),
        (b"x", "multipart/form-data"),
        (b"--x\r\nnonsense", "multipart/form-data;boundary=x"),
        (b"name=%ff", "application/x-www-form-urlencoded"),
        (b"name=\xe9", "application/x-www-form-urlencoded"),
        (b"a=&" * 300, "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_is_not_what_it_says(api: httpx.Client, content: bytes, kind: str) -> None:
    answer = api.post("/v1/devices/events", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["ok"]) == (400, False)
    assert answer.json()["error_description"]


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("/v1/devices/events", b'{"name": "x", "ttl": 1e400}', "a number that is out of range"),
        ("/v1/devices/events", b'{"name": "x", "ttl": NaN}', "a number that is out of range"),
        ("/v1/devices/events", b'{"name": "x", "ttl": 1e30}', "ttl is out of range"),
        ("/v1/devices/events", b'{"name": "x", "ttl": ' + b"9" * 5000 + b"}", "not JSON"),
        ("/v1/devices/events", b'{"name": "\\ud800"}', "half a surrogate pair"),
        ("/v1/devices/events", b'{"name": "x", "data": {"\\udfff": 1}}', "half a surrogate pair"),
        ("/v1/devices/gate/led", b'{"args": "\\ud83d"}', "half a surrogate pair"),
        ("/oauth/token", b'{"username": "\\ud800"}', "half a surrogate pair"),
        ("/oauth/token", b'{"expires_in": 1e308}', "expires_in is out of range"),
        ("/oauth/token", b'{"expires_in": 315360001}', "315360000 seconds"),
        ("/oauth/token", b'{"expires_at": "9999-12-31"}', "315360000 seconds"),
        ("/oauth/token", b'{"client_id": "' + b"x" * 101 + b'"}', "at most 100 characters"),
    ],
)
def test_what_no_client_means_is_its_mistake_and_not_ours(
    api: httpx.Client, path: str, content: bytes, words: str
) -> None:
    """Issue 6, point 5: these were answered with 500."""
    answer = api.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert words in answer.json()["error_description"]


KINDS = (
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data;boundary=x",
    "text/plain",
)
BEGINNINGS = (b"", b"name=", b'{"name":', b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n')


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KINDS), st.sampled_from(BEGINNINGS), st.binary(max_size=60))
def test_no_body_is_a_fault_of_the_cloud(live: Live, kind: str, beginning: bytes, more: bytes) -> None:
    answer = in_process(
        live,
        HttpOptions(),
        "POST",
        "/v1/devices/events",
        content=beginning + more,
        headers={"Content-Type": kind},
    )
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize("kind", ["-d", "--data-urlencode", "-F"])
def test_text_from_curl_arrives_as_it_was_typed(
    live: Live, photon: ScriptedDevice, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 6, point 5: ``curl -d args=héllo`` is six bytes for the device."""
    arrived: list[bytes] = []

    def note(argument: bytes) -> int:
        arrived.append(argument)
        return len(argument)

    monkeypatch.setitem(photon.functions, "led", note)
    token = live.do(lambda: live.cloud.users.issue_token(USER)).token
    command = [
        "curl",
        "-s",
        f"{live.url}/v1/devices/{DEVICE_ID}/led",
        "-H",
        f"Authorization: Bearer {token}",
    ]
    said = subprocess.run([*command, kind, "args=héllo"], capture_output=True, check=True, timeout=PATIENCE)
    assert json.loads(said.stdout)["return_value"] == 6
    assert arrived == ["héllo".encode()]


@pytest.mark.parametrize(("field", "most"), [("notes", 1000), ("name", 64)])
def test_what_people_write_about_a_device_is_bounded(api: httpx.Client, field: str, most: int) -> None:
    """Issue 6, point 5."""
    path = f"/v1/devices/{DEVICE_ID}"
    assert api.put(path, json={field: "x" * (most + 1)}).status_code == 400
    refused = api.put(path, json={field: "x" * 100_000})
    assert f"{most} characters" in refused.json()["error_description"]
    assert len(refused.content) < 1000
    assert api.put(path, json={field: "x" * most}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/products/99/devices", 404),
        ("POST", "/v1/binaries", 404),
        ("PATCH", "/v1/devices", 405),
        ("GET", "/oauth/token", 405),
    ],
)
def test_what_is_not_there_is_json_too(api: httpx.Client, method: str, path: str, status: int) -> None:
    answer = api.request(method, path)
    body = answer.json()
    assert (answer.status_code, body["ok"]) == (status, False)
    assert body["error_description"] == f"this cloud has no {method} {path}"


def test_a_device_that_does_not_answer() -> None:
    with live_cloud(device_timeout=0.2) as live, scripted_photon(live):
        answer = live.client().post(f"/v1/devices/{DEVICE_ID}/silent", json={"args": ""})
    assert (answer.status_code, answer.json()["error"]) == (408, "Timed out.")


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (DeviceOffline("away"), 404, "The device is not connected"),
        (DeviceTimeout("late"), 408, "Timed out."),
        (NotFound("no such thing", hint="register it"), 404, "no such thing"),
        (NotOwner(), 403, "That belongs to someone else."),
        (AccountPaused(), 400, "the account is paused: its Data Operations are used up"),
        (Refused("That belongs to someone else."), 400, "That belongs to someone else."),
        (WireError("garbage"), 400, "garbage"),
        (CloudError("broken"), 500, "internal_error"),
    ],
)
def test_an_error_of_the_cloud_in_the_words_of_the_api(error: HilError, status: int, text: str) -> None:
    answer = translate(error, offline_status=404)
    assert (answer.status, answer.error) == (status, text)
    assert "register it" not in answer.description


def in_process(live: Live, options: HttpOptions, method: str, path: str, **request: Any) -> httpx.Response:
    """One request to an application with other options, on the cloud's loop, without a socket."""

    async def ask() -> httpx.Response:
        token = live.cloud.users.issue_token("hil").token
        transport = httpx.ASGITransport(create_app(live.cloud, options), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
            return await client.request(method, path, params={"access_token": token}, **request)

    return live.run(ask())


def test_a_body_that_is_too_long(live: Live) -> None:
    small = HttpOptions(max_body=100)
    answers = [
        in_process(live, small, "POST", "/v1/devices/events", json={"name": "x", "data": "y" * 100}),
        in_process(live, small, "PUT", "/v1/devices/x", files={"file": ("fw.bin", b"y" * 100)}),
    ]
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(413, "too_large")] * 2


def test_a_bug_is_json_too(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_user: object) -> list[object]:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(live.cloud.devices, "of", broken)
    answer = in_process(live, HttpOptions(), "GET", "/v1/devices")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert "secret detail" not in answer.text


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("fw.bin", "fw.bin"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\fw v2.bin", "fw_v2.bin"),
        ("..", "unnamed"),
        ("", "unnamed"),
        (".bashrc", "bashrc"),
        ("a." + "b" * 99, "b" * 99),
    ],
)
def test_file_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(st.text(max_size=300))
def test_a_file_name_never_means_a_path(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe) <= 100
    assert not set(safe) & set('/\\\0\r\n"')
    assert not safe.startswith(".")
