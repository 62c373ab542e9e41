"""Issue 6, point 5: what a connection may take, and whose place a newcomer gets."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from hil.cloud.http.server import Server
from hil.cloud.http.state import HttpOptions
from tests.cloud_http.live import PATIENCE, USER, Live
from tests.cloud_http.test_http_server import serving


@contextmanager
def calling(server: Server, data: bytes = b"") -> Iterator[socket.socket]:
    """A connection that has sent ``data``."""
    with socket.create_connection((server.host, server.port), PATIENCE) as connection:
        connection.sendall(data)
        yield connection


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            received += data
    return received


def request(client: httpx.Client, length: int = 0) -> bytes:
    """The head of a publish with the token of ``client``, and the first byte of a body of ``length``."""
    head = (
        f"POST /v1/devices/events HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['authorization']}\r\n"
    )
    return f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{".encode()


def test_who_says_nothing_is_hung_up_on(live: Live) -> None:
    with serving(live, HttpOptions(idle_within=0.05)) as (server, _), calling(server) as silent:
        assert rest(silent) == b""


def test_a_kept_alive_connection_is_closed_when_nothing_more_comes(live: Live) -> None:
    with (
        serving(live, HttpOptions(idle_within=0.05)) as (server, _),
        calling(server, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n") as kept,
    ):
        assert rest(kept).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_request_that_does_not_come_to_its_end(
    live: Live, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = HttpOptions(head_within=0.05, body_within=0.05)
    with serving(live, options) as (server, client):
        data = b"GET / HTTP/1.1\r\nHost" if part == "head" else request(client, 100)
        with calling(server, data) as slow:
            head, _, body = rest(slow).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert (
            json.loads(body)["error_description"] == f"the {part} of the request did not come within 0.05 s"
        )
        assert client.get("/v1/user").status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_client_that_leaves_in_its_body_is_no_fault_of_ours(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(live, HttpOptions()) as (server, client):
        with calling(server, request(client, 100)):
            assert client.get("/v1/user").status_code == 200
        assert client.get("/v1/user").status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def ask_for_ever(connection: socket.socket) -> None:
    """Requests with long answers, and no look at any."""
    while True:
        connection.sendall(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 8000))


def test_who_takes_no_answers_is_hung_up_on(live: Live) -> None:
    with serving(live, HttpOptions(stalled_after=0.05)) as (server, client):
        with calling(server) as deaf, pytest.raises(ConnectionError):
            ask_for_ever(deaf)
        assert client.get("/v1/user").status_code == 200


def test_what_is_no_http_gets_an_error_in_json(live: Live, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(live, HttpOptions()) as (server, _), calling(server, b"\x16\x03\x01 tls\r\n\r\n") as wrong:
        head, _, body = rest(wrong).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"] == "bad_request"
    assert capfd.readouterr().err == ""


def speak(connection: socket.socket) -> None:
    """A request and its answer."""
    connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    received = b""
    while not received.endswith(b"}"):
        data = connection.recv(65536)
        assert data, "the connection is closed"
        received += data
    assert received.startswith(b"HTTP/1.1 404")


def test_the_connection_that_is_silent_for_longest_makes_room(live: Live) -> None:
    with serving(live, HttpOptions(), limit=3) as (server, _), contextlib.ExitStack() as stack:
        first, second, third = [stack.enter_context(calling(server)) for _ in range(3)]
        for connection in (second, third, first):
            speak(connection)
        speak(stack.enter_context(calling(server)))
        assert rest(second) == b""
        for connection in (third, first):
            speak(connection)
        assert (len(server.pool), server.pool.closed, server.pool.refused) == (3, 1, 0)


def test_slow_bodies_make_room_and_open_streams_do_not(live: Live) -> None:
    with serving(live, HttpOptions(), limit=2) as (server, client), contextlib.ExitStack() as stack:
        streams = [
            httpx.Client(base_url=server.url, headers=client.headers, trust_env=False) for _ in range(2)
        ]
        answer = stack.enter_context(streams[0].stream("GET", "/v1/devices/events"))
        lines = answer.iter_lines()
        assert next(lines) == ":ok"
        slow = stack.enter_context(calling(server, request(client, 100)))
        second = stack.enter_context(streams[1].stream("GET", "/v1/devices/events")).iter_lines()
        assert next(second) == ":ok"
        assert rest(slow) == b""
        with calling(server) as refused:
            assert rest(refused) == b""
        assert (server.pool.closed, server.pool.refused) == (1, 1)
        for stream in streams:
            stream.close()


def test_answers_leave_at_once(live: Live) -> None:
    """Issue 6, point 6."""
    with serving(live, HttpOptions()) as (server, client):
        assert client.get("/v1/user").status_code == 200
        (connection,) = server.pool
        assert connection.line is not None
        sock = connection.line.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_body_without_a_token_is_refused_before_it_comes(live: Live) -> None:
    head = "PUT /v1/devices/gate HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nContent-Length: 9000000\r\n\r\n"
    with serving(live, HttpOptions()) as (server, _):
        for kind in ("application/json", "application/x-www-form-urlencoded"):
            with calling(server, head.format(kind).encode()) as stranger:
                assert stranger.recv(65536).startswith(b"HTTP/1.1 401")
        with calling(server, head.format("multipart/form-data;boundary=b").encode()) as stranger:
            stranger.sendall(b"--b\r\n" + b"x" * 65536)
            assert stranger.recv(65536).startswith(b"HTTP/1.1 401")


def test_a_token_in_front_of_an_upload_is_enough(live: Live) -> None:
    """curl sends parts in the order of its arguments; the upload is refused for what it is, not for its sender."""
    token = live.do(lambda: live.cloud.users.issue_token(USER)).token
    command = ["curl", "-s", "-X", "PUT", f"{live.url}/v1/devices/{'0' * 24}", "-F", f"access_token={token}"]
    said = subprocess.run(
        [*command, "-F", "file=@-;filename=fw.bin"], input=b"x" * 200_000, capture_output=True, check=True
    )
    assert json.loads(said.stdout)["error"] == "I didn't recognize that device name or ID"


def test_bodies_are_bounded_together(live: Live) -> None:
    options = HttpOptions(max_bodies=1000)
    with serving(live, options) as (server, client), calling(server, request(client, 2000) + b"x" * 900):
        answers = []
        while 503 not in answers:  # until the first of them has been read
            answers.append(client.post("/v1/devices/events", content=b"x" * 200).status_code)
        assert set(answers) <= {400, 503}
