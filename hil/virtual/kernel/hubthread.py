"""The thread that looks after the ports of the hub, one after the other, as Linux does (drivers/usb/core/hub.c)."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

_log = logging.getLogger(__name__)


class Watched(Protocol):
    """A port. Ports that are due at the same time are looked at in the order of ``path``."""

    path: str

    def look(self) -> None: ...


class HubThread:
    """Calls ``look`` of ports that changed. ``pause`` is how long things take: it ends early when the hub stops."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Watched, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What changes from here on is not looked at."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=1)

    def changed(self, port: Watched, delay: float) -> None:
        """Looks at ``port`` in ``delay`` seconds, or when that was due already."""
        due = time.monotonic() + delay
        with self._changed:
            self._due[port] = min(due, self._due.get(port, due))
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        if seconds > 0:
            self._stopped.wait(seconds)

    def _run(self) -> None:
        while (port := self._next()) is not None:
            try:
                port.look()
            except Exception:
                _log.exception("port %s failed", port.path)

    def _next(self) -> Watched | None:
        """The first port that is due, ``None`` at the end."""
        with self._changed:
            while not self._stopped.is_set():
                now = time.monotonic()
                ready = [port for port, due in self._due.items() if due <= now]
                if ready:
                    port = min(ready, key=lambda one: (len(one.path), one.path))
                    del self._due[port]
                    return port
                self._changed.wait(min(self._due.values()) - now if self._due else None)
        return None
