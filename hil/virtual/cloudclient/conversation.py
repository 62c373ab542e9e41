"""What the parts of a session ask of it: who the board is, message ids, and ways to send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hil.virtual.app.apps import ApplicationHost
from hil.virtual.hardware.facts import DeviceFacts
from hil.virtual.hardware.profile import Profile
from hil.wire.coap.message import Message

OnReply = Callable[[Message], None]


class Conversation(Protocol):
    """A connection to the cloud that something can be said on. What sends raises LinkDown."""

    @property
    def facts(self) -> DeviceFacts: ...

    @property
    def profile(self) -> Profile: ...

    @property
    def app(self) -> ApplicationHost: ...

    def next_mid(self) -> int:
        """A fresh message id."""

    def send(self, message: Message) -> None:
        """Send a message whose acknowledgement nobody waits for."""

    def confirm(self, message: Message, on_reply: OnReply | None = None) -> None:
        """Send a confirmable message; ``on_reply`` gets its ACK (an error ACK too)."""

    def system_event(self, name: str, data: str) -> None:
        """Publish an event of Device OS itself."""
