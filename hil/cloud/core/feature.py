"""What a capability of the cloud looks like to the core, whichever it is.

A feature is a folder beside this one with a class of this shape, and one line in :mod:`hil.cloud.compose`. It
overrides what it needs and asks the cloud for everything else through its :class:`Api`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from hil.cloud.core.api import Api
from hil.cloud.core.routes import Mount, Route
from hil.cloud.session.meter import Meter
from hil.cloud.state.events import CloudEvent


class Feature:
    """One capability. It is made while nothing listens yet, its tables already up to date."""

    #: What it is called, in errors and in the store's list of migrations; never changes.
    name: ClassVar[str]
    #: The whole history of its tables' SQL, oldest first, as ``Store.migrate`` takes it.
    migrations: ClassVar[Sequence[str]] = ()

    def __init__(self, api: Api) -> None:
        self.api = api

    @property
    def routes(self) -> Sequence[Route | Mount]:
        """What it offers over HTTP."""
        return ()

    @property
    def listener(self) -> Callable[[CloudEvent], None] | None:
        """Called with every event of every owner once it is stored; it must not block."""
        return None

    @property
    def meter(self) -> Meter | None:
        """Who counts what devices do, when that is what the feature is for."""
        return None

    async def open(self) -> None:
        """Boards can connect from now on: start what runs, listen on ports of your own."""

    async def close(self) -> None:
        """End everything. Also called when ``open`` failed or never ran."""
