"""A smart plug with Tasmota firmware, commanded over MQTT. USB fact sheet 9.3.

A command counts as done when the plug itself says so on its state topic. A plug whose last will says Offline is a
fault of the bench, named before any command is sent.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any

from hil.rig.rigfile import TasmotaTable
from hil.rig.switchfailed import SwitchFailed

CONFIRM_WITHIN = 5.0  # seconds; relays are slow

# Typed as Any: the published stubs describe version 1 of the library.
_mqtt: Any = importlib.import_module("paho.mqtt.client")
_enums: Any = importlib.import_module("paho.mqtt.enums")


class TasmotaPower:
    """One relay of a plug. Connects for each command: a bench's broker may restart between two tests."""

    def __init__(self, table: TasmotaTable, within: float = CONFIRM_WITHIN) -> None:
        self._table = table
        self._within = within
        self._relay = f"POWER{table.relay or ''}"

    @property
    def available(self) -> bool:
        return True

    def on(self) -> None:
        self._switch("ON")

    def off(self) -> None:
        self._switch("OFF")

    def _switch(self, state: str) -> None:
        with _Session(self._table, self._relay, self._within) as session:
            session.command(state)


class _Session:
    """One connection to the broker: subscribes, then commands, then waits for the plug's word."""

    def __init__(self, table: TasmotaTable, relay: str, within: float) -> None:
        self._table = table
        self._within = within
        self._command_topic = f"cmnd/{table.topic}/{relay}"
        self._state_topic = f"stat/{table.topic}/{relay}"
        self._will_topic = f"tele/{table.topic}/LWT"
        self._news = threading.Condition()
        self._subscribed = False
        self._refusal = ""
        self._state: str | None = None
        self._presence: str | None = None
        self._client = self._make_client()

    def __enter__(self) -> _Session:
        where = f"MQTT broker {self._table.broker}:{self._table.port}"
        try:
            self._client.connect(self._table.broker, self._table.port, keepalive=20)
        except OSError as error:
            raise SwitchFailed(
                f"cannot reach {where}", found=str(error), hint="is the broker running?"
            ) from error
        self._client.loop_start()
        if not self._wait(lambda: self._subscribed or bool(self._refusal)) or self._refusal:
            self.__exit__()
            raise SwitchFailed(
                f"{where} does not let us in", found=self._refusal or "no answer", hint="look at user and ACL"
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # The client closes its last sockets when it goes. Callbacks lead back to it: then it would go in a garbage
        # collection, after its sockets, and Python warns of those.
        self._client.on_connect = self._client.on_subscribe = self._client.on_message = None

    def command(self, state: str) -> None:
        """Send ``ON`` or ``OFF`` and wait until the plug reports it. Raises ``SwitchFailed``."""
        plug = f"plug {self._table.topic}"
        # The retained last will follows the subscription at once, if the plug was ever there.
        self._wait(lambda: self._presence is not None, min(1.0, self._within))
        if self._presence == "Offline":
            raise SwitchFailed(
                f"{plug} is offline", found=f"{self._will_topic} says Offline", hint="look at its Wi-Fi"
            )
        with self._news:
            self._state = None
        self._client.publish(self._command_topic, state, qos=1, retain=False)
        if not self._wait(lambda: self._state == state):
            raise SwitchFailed(
                f"{plug} did not confirm {state} within {self._within:g} s",
                expected=f"{state} on {self._state_topic}",
                found=self._state or "nothing",
                hint="does its topic match the rig file? Is its FullTopic %prefix%/%topic%/?",
            )

    def _make_client(self) -> Any:
        client = _mqtt.Client(_enums.CallbackAPIVersion.VERSION2)
        if self._table.username is not None:
            client.username_pw_set(self._table.username, self._password())
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _password(self) -> str | None:
        if self._table.password_file is None:
            return None
        try:
            return self._table.password_file.read_text().strip()
        except OSError as error:
            raise SwitchFailed("cannot read the plug's password file", found=str(error)) from error

    def _on_connect(
        self, client: Any, _data: object, _flags: object, reason: Any, _properties: object
    ) -> None:
        if reason.is_failure:
            with self._news:
                self._refusal = str(reason)
                self._news.notify_all()
            return
        client.subscribe([(self._state_topic, 1), (self._will_topic, 1)])

    def _on_subscribe(self, *_: object) -> None:
        with self._news:
            self._subscribed = True
            self._news.notify_all()

    def _on_message(self, _client: object, _data: object, message: Any) -> None:
        text = message.payload.decode("utf-8", "replace")
        with self._news:
            if message.topic == self._will_topic:
                self._presence = text
            elif not message.retain:
                self._state = text.upper()
            self._news.notify_all()

    def _wait(self, condition: Callable[[], bool], within: float | None = None) -> bool:
        with self._news:
            return self._news.wait_for(condition, self._within if within is None else within)
