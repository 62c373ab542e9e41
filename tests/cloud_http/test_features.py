"""A capability added to the cloud as the architecture says: one class, one line where the cloud is composed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from starlette.responses import PlainTextResponse

from hil.cloud.billing.feature import Billing
from hil.cloud.compose import compose
from hil.cloud.config import CloudConfig
from hil.cloud.core.api import Api
from hil.cloud.core.cloud import Cloud
from hil.cloud.core.feature import Feature
from hil.cloud.core.routes import Answer, Mount, Request, Route
from hil.cloud.http.feature import HttpApi
from hil.cloud.session.meter import Action, Charge, Meter
from hil.cloud.state.events import CloudEvent
from hil.errors import NotFound, Refused, UsageError
from tests.cloud_http.live import DEVICE_ID, USER, Live, live_cloud, scripted_photon


class Tally:
    """A meter that allows two calls."""

    def __init__(self) -> None:
        self.charges: list[Charge] = []

    def allowed(self, charge: Charge) -> bool:
        return charge.action is not Action.FUNCTION or len(self.charges) < 2

    def record(self, charge: Charge) -> None:
        self.charges.append(charge)


class Guestbook(Feature):
    """Notes in a table of its own; remembers what it hears and counts."""

    name = "guestbook"
    migrations: ClassVar[Sequence[str]] = (
        "CREATE TABLE guestbook (user TEXT NOT NULL, note TEXT NOT NULL)",
        "ALTER TABLE guestbook ADD COLUMN stars INTEGER NOT NULL DEFAULT 5",
    )

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self.heard: list[CloudEvent] = []
        self.tally = Tally()

    @property
    def routes(self) -> Sequence[Route | Mount]:
        return (
            Route("POST", "/v1/guestbook", self._write),
            Route("GET", "/v1/guestbook/{user}", self._read),
            Mount("/guestbook", PlainTextResponse("a page for everybody")),
        )

    @property
    def listener(self) -> Callable[[CloudEvent], None]:
        return self.heard.append

    @property
    def meter(self) -> Meter:
        return self.tally

    async def _write(self, request: Request) -> Answer:
        note, stars = request.body.required("note"), request.body.number("stars", 5)
        self.api.store.execute("INSERT INTO guestbook VALUES (?, ?, ?)", request.user.name, note, stars)
        await self.api.publish("guestbook/new", note, owner=request.user.name)
        return Answer({"ok": True}, 201)

    async def _read(self, request: Request) -> Answer:
        rows = self.api.store.query("SELECT * FROM guestbook WHERE user=?", request.path("user"))
        if not rows:
            raise NotFound(f"{request.path('user')} wrote nothing")
        lines = [f"{row['note']},{row['stars']}" for row in rows]
        return Answer("\n".join([request.query.get("head", "note,stars"), *lines]), media_type="text/csv")


@pytest.fixture
def guestbook() -> Iterator[Live]:
    with live_cloud(Guestbook) as live:
        yield live


def test_its_routes_are_served_like_the_clouds_own(guestbook: Live) -> None:
    client, stranger = guestbook.client(), guestbook.client(None)
    assert stranger.post("/v1/guestbook", json={"note": "hi"}).status_code == 401
    assert client.post("/v1/guestbook", json={}).json()["error_description"] == "note is missing"
    written = client.post("/v1/guestbook", data={"note": "fine cloud", "stars": "4"})
    assert (written.status_code, written.json()) == (201, {"ok": True})
    read = client.get(f"/v1/guestbook/{USER}", params={"head": "said"})
    assert (read.text, read.headers["content-type"]) == ("said\nfine cloud,4", "text/csv; charset=utf-8")
    nobody = client.get("/v1/guestbook/nobody")
    assert (nobody.status_code, nobody.json()["error"]) == (404, "nobody wrote nothing")


def test_its_pages_need_no_token(guestbook: Live) -> None:
    assert guestbook.client(None).get("/guestbook/page").text == "a page for everybody"


def test_it_hears_the_events_of_every_owner(guestbook: Live) -> None:
    guestbook.client().post("/v1/guestbook", json={"note": "hi"})
    guestbook.run(guestbook.cloud.publish("t", "x", owner="eve"))
    heard = [(event.owner, event.name) for event in guestbook.cloud.feature(Guestbook).heard]
    assert heard == [(USER, "guestbook/new"), ("eve", "t")]


def test_its_meter_counts_and_forbids_beside_billing(guestbook: Live) -> None:
    with scripted_photon(guestbook):
        for _ in range(2):
            assert guestbook.run(guestbook.cloud.call(DEVICE_ID, "led", "on")) == 2
        with pytest.raises(Refused, match="paused"):
            guestbook.run(guestbook.cloud.call(DEVICE_ID, "led", "on"))
    charged = [charge.cause for charge in guestbook.cloud.feature(Guestbook).tally.charges]
    billed = [row.cause for row in guestbook.cloud.feature(Billing).ledger.journal.since()]
    assert [cause for cause in charged if cause == "call led"] == ["call led"] * 2
    assert [cause for cause in billed if cause == "call led"] == ["call led"] * 2


LIVES: list[str] = []


class First(Feature):
    """Writes down when it opens and closes."""

    name = "first"

    async def open(self) -> None:
        LIVES.append(f"{self.name} opens")

    async def close(self) -> None:
        LIVES.append(f"{self.name} closes")


class Second(First):
    name = "second"


class Failing(First):
    name = "failing"

    async def open(self) -> None:
        raise NotFound("nothing to open")


class Broken(Feature):
    name = "broken"

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        raise NotFound("nothing to build on")


def settings(state: Path) -> CloudConfig:
    return CloudConfig(state_dir=state, tcp_port=0, udp_port=0, http_port=None)


async def live_once(cloud: Cloud) -> None:
    try:
        await cloud.start()
    finally:
        await cloud.stop()


def test_features_open_in_order_and_close_the_other_way_round(tmp_path: Path) -> None:
    LIVES.clear()
    asyncio.run(live_once(compose(settings(tmp_path), First, Second)))
    assert LIVES == ["first opens", "second opens", "second closes", "first closes"]


def test_what_opened_is_closed_when_another_does_not_open(tmp_path: Path) -> None:
    LIVES.clear()
    with pytest.raises(NotFound, match="nothing to open"):
        asyncio.run(live_once(compose(settings(tmp_path), First, Failing)))
    assert LIVES == ["first opens", "failing closes", "first closes"]


def test_a_feature_that_cannot_be_made_leaves_the_state_to_the_next_cloud(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing to build on"):
        compose(settings(tmp_path), Broken)
    asyncio.run(live_once(compose(settings(tmp_path))))


def test_a_cloud_runs_without_any_feature_and_says_which_it_lacks(tmp_path: Path) -> None:
    cloud = Cloud(settings(tmp_path), [First])
    with pytest.raises(UsageError, match=r"no HttpApi[\s\S]*found: first"):
        cloud.feature(HttpApi)
    asyncio.run(live_once(cloud))
