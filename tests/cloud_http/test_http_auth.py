"""Tokens: every way clients in the wild ask for one and present it (cloud API fact sheet 0, 2.1, 2.2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from hil.cloud.state.users import HARNESS_CLIENT, TOKEN_LIFETIME
from tests.cloud_http.live import PASSWORD, USER, Live

GRANT = {"grant_type": "password", "username": USER, "password": PASSWORD}


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"client_id": "CLI2", "client_secret": "client_secret_here"}, {"Authorization": "Bearer null"}),
        ({"client_id": "user", "client_secret": "client_secret_here"}, {}),
        ({"client_id": "particle-cli", "client_secret": "particle-cli", "expires_in": "7776000"}, {}),
        ({"client_id": "particle-api", "client_secret": "particle-api"}, {"Authorization": "Bearer stale"}),
        ({}, {"Authorization": "Basic cGFydGljbGU6cGFydGljbGU="}),
    ],
    ids=["cli-3.43", "cli-token", "cli-3.51", "api-js", "curl"],
)
def test_every_client_gets_a_token(
    anonymous: httpx.Client, fields: dict[str, str], headers: dict[str, str]
) -> None:
    answer = anonymous.post("/oauth/token", data=GRANT | fields, headers=headers)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("bearer", TOKEN_LIFETIME)
    assert len(body["access_token"]) == len(body["refresh_token"]) == 40
    current = anonymous.get(
        "/v1/access_tokens/current", headers={"Authorization": f"Bearer {body['access_token']}"}
    ).json()
    left = datetime.fromisoformat(current["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)
    assert current["client"] == current["client_id"] == fields.get("client_id", "hil")


def test_a_token_that_never_ends(anonymous: httpx.Client) -> None:
    body = anonymous.post("/oauth/token", data=GRANT | {"expires_in": "0"}).json()
    assert body["expires_in"] == 0
    current = anonymous.get("/v1/access_tokens/current", params={"access_token": body["access_token"]})
    assert current.json()["expires_at"] is None


def test_a_token_until_a_date(anonymous: httpx.Client) -> None:
    until = datetime.now(UTC) + timedelta(hours=2)
    body = anonymous.post("/oauth/token", data=GRANT | {"expires_at": until.isoformat()}).json()
    assert 7190 <= body["expires_in"] <= 7200


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"password": "wrong"}, "invalid_grant"),
        ({"username": "nobody"}, "invalid_grant"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "refresh_token", "refresh_token": "0" * 40}, "invalid_grant"),
        ({"expires_in": "soon"}, "bad_request"),
        ({"expires_in": "-1"}, "bad_request"),
        ({"expires_at": "soon"}, "bad_request"),
    ],
)
def test_no_token_for_this(anonymous: httpx.Client, change: dict[str, str], error: str) -> None:
    answer = anonymous.post("/oauth/token", data=GRANT | change)
    assert answer.status_code == 400
    body = answer.json()
    assert (body["ok"], body["error"]) == (False, error)
    assert body["error_description"]


def test_a_refresh_token_replaces_the_old_token(anonymous: httpx.Client) -> None:
    first = anonymous.post("/oauth/token", data=GRANT).json()
    refresh = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = anonymous.post("/oauth/token", data=refresh).json()
    statuses = [
        anonymous.get("/v1/user", params={"access_token": token["access_token"]}).status_code
        for token in (first, second)
    ]
    assert statuses == [401, 200]


def test_a_token_in_the_query_and_in_a_form(live: Live, anonymous: httpx.Client) -> None:
    token = live.do(lambda: live.cloud.users.issue_token(USER)).token
    assert anonymous.get("/v1/user", params={"access_token": token}).json()["username"] == USER
    published = anonymous.post("/v1/devices/events", data={"access_token": token, "name": "x"})
    assert published.json() == {"ok": True}


@pytest.mark.parametrize(
    ("header", "error"),
    [(None, "invalid_request"), ("Bearer null", "invalid_token"), ("Basic YTpi", "invalid_request")],
)
def test_without_a_valid_token(anonymous: httpx.Client, header: str | None, error: str) -> None:
    answer = anonymous.get("/v1/devices", headers={"Authorization": header} if header else {})
    assert (answer.status_code, answer.json()["error"]) == (401, error)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_an_ended_token_says_so(live: Live, anonymous: httpx.Client) -> None:
    token = live.do(lambda: live.cloud.users.issue_token(USER, -1)).token
    answer = anonymous.get("/v1/user", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["error"]) == (401, "expired_token")


def test_a_token_is_revoked_by_itself(live: Live, anonymous: httpx.Client) -> None:
    token = live.do(lambda: live.cloud.users.issue_token(USER)).token
    assert anonymous.delete(f"/v1/access_tokens/{token}").json() == {"ok": True}
    assert anonymous.delete(f"/v1/access_tokens/{token}").status_code == 404
    assert anonymous.get("/v1/user", params={"access_token": token}).status_code == 401


def test_logging_out(api: httpx.Client) -> None:
    # The CLI sends a JSON body with some DELETE requests.
    answer = api.request("DELETE", "/v1/access_tokens/current", json={})
    assert answer.json() == {"ok": True}
    assert api.get("/v1/user").status_code == 401


def test_all_tokens_listed_and_ended(live: Live, anonymous: httpx.Client) -> None:
    live.do(lambda: live.cloud.users.create("bob", "pw"))
    first, second = live.client("bob"), live.client("bob")
    listed = anonymous.get("/v1/access_tokens", auth=("bob", "pw")).json()
    assert [f"Bearer {item['token']}" for item in listed] == [
        first.headers["authorization"],
        second.headers["authorization"],
    ]
    assert anonymous.get("/v1/access_tokens", auth=("bob", "no")).status_code == 401
    harness = live.do(lambda: live.cloud.users.issue_token("bob", 0, client=HARNESS_CLIENT)).token
    assert first.delete("/v1/access_tokens").json() == {"ok": True}
    assert second.get("/v1/user").status_code == 401
    # Issue 6, point 11: commands and scripts hold on to the token that the harness made for itself.
    assert anonymous.get("/v1/user", params={"access_token": harness}).json()["username"] == "bob"
