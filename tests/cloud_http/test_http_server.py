"""The server itself: ports, streams over real sockets, and how it stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from hil.cloud.gateways.accepting import Pool
from hil.cloud.gateways.listening import listener
from hil.cloud.http.app import create_app
from hil.cloud.http.feature import HttpApi
from hil.cloud.http.server import Server, serve
from hil.cloud.http.state import HttpOptions
from hil.errors import CloudError
from tests.cloud_http.live import USER, Live


@contextmanager
def serving(live: Live, options: HttpOptions, limit: int = 100) -> Iterator[tuple[Server, httpx.Client]]:
    """A second server for the same cloud, with options of its own, and a client for it."""
    told: list[str] = []
    pool = Pool("HTTP", limit, told.append)
    app = create_app(live.cloud, options)
    server = live.run(serve(app, pool, listener("TCP", "127.0.0.1", 0, "http_port")))
    token = live.do(lambda: live.cloud.users.issue_token(USER)).token
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
            yield server, client
    finally:
        live.run(server.stop())


def test_a_port_that_is_taken(live: Live) -> None:
    with pytest.raises(
        CloudError, match=f"cannot listen on TCP 127.0.0.1:{live.cloud.feature(HttpApi).port}"
    ):
        listener("TCP", "127.0.0.1", live.cloud.feature(HttpApi).port, "http_port")


def test_keep_alives_arrive_over_a_real_socket(live: Live) -> None:
    with (
        serving(live, HttpOptions(keep_alive=0.01)) as (_, client),
        client.stream("GET", "/v1/devices/events") as answer,
    ):
        received = ""
        for text in answer.iter_text():
            received += text
            if len(received) > 10:
                break
    assert received.startswith(":ok\n\n\n\n\n")


def test_stopping_ends_open_streams(live: Live) -> None:
    with (
        serving(live, HttpOptions()) as (server, client),
        client.stream("GET", "/v1/devices/events") as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == ":ok"
        live.run(server.stop())
        assert list(lines) == [""]  # a clean end, not a broken connection
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False)


def test_a_limit_on_streams_when_it_is_asked_for(live: Live) -> None:
    with (
        serving(live, HttpOptions(streams_per_address=1)) as (_, client),
        client.stream("GET", "/v1/devices/events") as answer,
    ):
        lines = answer.iter_lines()  # kept: httpx closes the answer with its iterator
        assert next(lines) == ":ok"
        refused = client.get("/v1/devices/events")
    assert (refused.status_code, refused.json()["error"]) == (429, "too_many_requests")
