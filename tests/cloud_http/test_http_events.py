"""Publishing and listening over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.cloud_http.live import DEVICE_ID, Live
from tests.cloud_http.scripted_device import ScriptedDevice


class Listening:
    """An open event stream."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def next(self) -> dict[str, Any]:
        """The next event, its name under ``name``."""
        name = ""
        for line in self._lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                return {"name": name, **json.loads(line.removeprefix("data: "))}
        raise AssertionError("the stream ended")


@contextmanager
def listening(client: httpx.Client, path: str) -> Iterator[Listening]:
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = answer.iter_lines()
        # The bus knows of the stream before its first bytes leave.
        assert [next(lines), next(lines)] == [":ok", ""]
        yield Listening(lines)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/devices/events",
        "/v1/devices/events/gar",
        "/v1/events/garden%2Fg?nonce=0.5",
        "/v1/events/garden/g",
    ],
)
def test_a_published_event_reaches_a_stream(api: httpx.Client, path: str) -> None:
    with listening(api, path) as stream:
        fields = {"name": "garden/gate", "data": "open", "private": True, "ttl": 30}
        assert api.post("/v1/devices/events", json=fields).json() == {"ok": True}
        event = stream.next()
    assert event.pop("published_at").endswith("Z")
    assert event == {"name": "garden/gate", "data": "open", "ttl": 30, "coreid": "api"}


@pytest.mark.parametrize(
    ("path", "body", "limit"),
    [
        ("/v1/devices/events", {"name": "x" * 65}, "1 to 64 bytes"),
        ("/v1/devices/events", {"name": "x", "data": "y" * 1025}, "at most 1024 bytes, found 1025"),
        ("/v1/devices/events", {"name": "x", "ttl": -1}, "0 to 16777215 seconds"),
        ("/v1/devices/gate/led", {"args": "y" * 623}, "at most 622 bytes"),
    ],
)
@pytest.mark.usefixtures("photon")
def test_an_error_states_the_limit(api: httpx.Client, path: str, body: dict[str, object], limit: str) -> None:
    """Issue 6, point 11."""
    answer = api.post(path, json=body)
    assert answer.status_code == 400
    assert limit in answer.json()["error_description"]


def test_null_is_as_good_as_nothing_for_what_is_optional(api: httpx.Client) -> None:
    """Issue 6, point 11."""
    with listening(api, "/v1/devices/events/null") as stream:
        fields = {"name": "null", "data": None, "ttl": None, "private": None}
        assert api.post("/v1/devices/events", json=fields).json() == {"ok": True}
        event = stream.next()
    assert (event["data"], event["ttl"]) == (None, 60)


def test_a_prefix_is_case_sensitive(api: httpx.Client) -> None:
    with listening(api, "/v1/devices/events/Gar") as stream:
        for name in ("garden", "Garden"):
            api.post("/v1/devices/events", json={"name": name})
        assert stream.next()["name"] == "Garden"


def test_data_that_is_no_text(api: httpx.Client) -> None:
    with listening(api, "/v1/devices/events/data") as stream:
        api.post("/v1/devices/events", data={"name": "data/form", "data": "a=b&c", "private": "true"})
        api.post("/v1/devices/events", json={"name": "data/none"})
        api.post("/v1/devices/events", json={"name": "data/json", "data": {"a": 1}})
        assert [stream.next()["data"] for _ in range(3)] == ["a=b&c", None, '{"a":1}']


@pytest.mark.parametrize("device", [DEVICE_ID, "gate"])
def test_a_stream_of_one_device(api: httpx.Client, photon: ScriptedDevice, device: str) -> None:
    with listening(api, f"/v1/devices/{device}/events/garden") as stream:
        api.post("/v1/devices/events", json={"name": "garden/from-the-api"})
        photon.publish("garden/temperature", b"21.5")
        event = stream.next()
    assert (event["name"], event["data"], event["coreid"]) == ("garden/temperature", "21.5", DEVICE_ID)


def test_events_of_others_stay_theirs(live: Live, api: httpx.Client) -> None:
    eve = live.client("eve")
    with listening(eve, "/v1/events/x") as stream:
        api.post("/v1/devices/events", json={"name": "x", "data": "ada's", "private": False})
        eve.post("/v1/devices/events", json={"name": "x", "data": "eve's"})
        assert stream.next()["data"] == "eve's"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/events", 400), ("/v1/devices/nobody/events", 404), ("/v1/devices/nobody/events/x", 404)],
)
def test_a_stream_that_is_not_to_be_had(api: httpx.Client, path: str, status: int) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.json()["ok"]) == (status, False)


def test_a_stream_without_token_says_why(anonymous: httpx.Client) -> None:
    answer = anonymous.get("/v1/devices/events")
    assert (answer.status_code, answer.json()["error_description"]) == (401, "The access token was not found")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": ""},
        {"name": "x" * 65},
        {"name": "x", "data": "y" * 1025},
        {"name": "x", "ttl": "long"},
        # Issue 6, point 11: one line of a stream or of a log is one event, and a ttl is seconds to live.
        {"name": "garden\nevent: forged"},
        {"name": "garden gate"},
        {"name": "garden\u2028gate"},
        {"name": "garden\x1b[2J"},
        {"name": "x", "ttl": -1},
        {"name": "x", "ttl": 1 << 24},
        {"name": "x", "private": "perhaps"},
    ],
)
def test_what_cannot_be_published(api: httpx.Client, fields: dict[str, object]) -> None:
    answer = api.post("/v1/devices/events", json=fields)
    assert (answer.status_code, answer.json()["ok"]) == (400, False)
