"""Drives all ttys of the rack from one thread: bytes from clients, room for bytes to them, opens and closes.

A tty that somebody still has open when its board leaves keeps its name until the last close: the board comes back under
another one, as behind a real kernel (real kernel fact sheet 1, row 3).
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque

from hil.virtual.kernel.inotify import Change, Inotify
from hil.virtual.kernel.tty import Tty
from hil.virtual.kernel.usbdevice import SerialFace

_log = logging.getLogger(__name__)
_LOOK, _END = b".", b"x"


class TtyHub:
    """Makes, serves and removes ttys."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events = threading.RLock()
        self._by_master: dict[int, Tty] = {}
        self._watched: dict[int, Tty] = {}
        self._happened: deque[tuple[Tty, bool]] = deque()
        self._by_key: dict[tuple[int, int], Tty] = {}
        self._names: set[str] = set()
        self._new: deque[Tty] = deque()
        self._epoll = select.epoll()
        self._inotify = Inotify()
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._epoll.register(self._inotify.fd, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="ttys", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; ttys have been removed before."""
        os.write(self._woken, _END)
        self._thread.join(timeout=1)
        for descriptor in (self._wake, self._woken):
            os.close(descriptor)
        self._inotify.close()
        self._epoll.close()

    def create(self, face: SerialFace) -> Tty:
        """A tty with the lowest free name. ``Tty.show`` makes it visible."""
        with self._lock:
            self._look()
            number = next(n for n in range(256) if f"ttyACM{n}" not in self._names)
            tty = Tty(f"ttyACM{number}", face, self._on_backlog)
            self._names.add(tty.path.name)
            self._by_master[tty.master] = tty
            self._by_key[tty.key] = tty
            self._watched[self._inotify.add(tty.pts)] = tty
        self._epoll.register(tty.master, select.EPOLLIN)
        # The board hears of it from the hub's thread: whoever plugs it in may hold locks.
        self._new.append(tty)
        os.write(self._woken, _LOOK)
        return tty

    def remove(self, tty: Tty) -> None:
        """Unregisters and closes ``tty``."""
        with self._lock:
            del self._by_master[tty.master], self._by_key[tty.key]
        self._epoll.unregister(tty.master)
        tty.close()

    def find(self, key: tuple[int, int]) -> Tty | None:
        """The tty whose node is (st_dev, st_ino); device numbers are not unique between devpts instances."""
        with self._lock:
            return self._by_key.get(key)

    def catch_up(self) -> None:
        """Handles opens and closes that have happened: an ioctl must find them done."""
        with self._events:
            while self._new:
                self._new.popleft().bound()
            with self._lock:
                self._look()
            while self._happened:
                tty, opened = self._happened.popleft()
                if opened:
                    tty.opened()
                else:
                    tty.closed()

    def _look(self) -> None:
        """Takes note of what happened, with the lock held; boards hear of opens and closes in ``catch_up``."""
        for number, change in self._inotify.read():
            tty = self._watched.get(number)
            if tty is None:
                continue
            if change is Change.GONE:
                del self._watched[number]
                self._names.discard(tty.path.name)
            elif self._by_key.get(tty.key) is tty:
                self._happened.append((tty, change is Change.OPENED))

    def _run(self) -> None:
        while True:
            for descriptor, events in self._epoll.poll():
                if descriptor == self._wake and _END in os.read(descriptor, 4096):
                    return
                try:
                    self._serve(descriptor, events)
                except Exception:
                    _log.exception("a board failed while its tty was served")

    def _serve(self, descriptor: int, events: int) -> None:
        # Opens first: a board that waits for DTR must see it before the bytes that follow.
        self.catch_up()
        with self._lock:
            tty = self._by_master.get(descriptor)
        if tty is None:
            return
        if events & select.EPOLLIN:
            tty.drain()
        if events & select.EPOLLOUT:
            tty.flush()

    def _on_backlog(self, tty: Tty, waiting: bool) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._epoll.modify(tty.master, select.EPOLLIN | (select.EPOLLOUT if waiting else 0))
