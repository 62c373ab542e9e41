"""Lets the rack answer or watch the tty ioctls of its clients while they wait (seccomp user notification).

A pty knows neither baud rate changes nor modem lines; here they are seen synchronously, a touch at 14400 baud included.
Facts: virtual rack fact sheet 2b; linux/seccomp.h.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import select
import struct
import threading

from hil.virtual.kernel import linux
from hil.virtual.kernel.tty import Later, Tty
from hil.virtual.kernel.ttycalls import NOTIFICATION_SIZE, WATCHED, Call, handle
from hil.virtual.kernel.ttyhub import TtyHub

_log = logging.getLogger(__name__)

_RECEIVE, _SEND, _ID_VALID, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40082104
_SYNC_WAKE_UP = 1  # the client sleeps until we answer: both on one processor is faster (Linux 6.6)
_CONTINUE = 1
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_REQUEST = 0, 4, 24


def filter_program() -> bytes:
    """BPF: notify for ioctl with a watched request, allow all else."""
    machine = linux.machine()
    count = len(WATCHED)
    code = [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_JUMP_IF_EQUAL, 0, count + 3, machine.audit_arch),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_IF_EQUAL, 0, count + 1, machine.ioctl),
        (_LOAD, 0, 0, _OFFSET_REQUEST),
    ]
    code += [(_JUMP_IF_EQUAL, count - index, 0, request) for index, request in enumerate(WATCHED)]
    code += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _NOTIFY)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


class _Listener:
    """The descriptor of one client's calls. Calls may be answered later, from another thread."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lock = threading.Lock()
        self._open = True
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, _SET_FLAGS, _SYNC_WAKE_UP)

    def receive(self) -> Call | None:
        """The next call; ``None`` when the client was killed before we came to it."""
        raw = bytearray(NOTIFICATION_SIZE)
        try:
            fcntl.ioctl(self.descriptor, _RECEIVE, raw)
        except OSError:
            return None
        return Call.parse(bytes(raw))

    def waits(self, call: Call) -> bool:
        """False when the client was interrupted or died and its pid may be another's by now."""
        with self._lock:
            try:
                if self._open:
                    fcntl.ioctl(self.descriptor, _ID_VALID, struct.pack("=Q", call.id))
            except OSError:
                return False
            return self._open

    def answer(self, call: Call, error: int, flags: int) -> None:
        """``error`` is 0 or minus an errno."""
        with self._lock:
            if not self._open:
                return
            try:
                fcntl.ioctl(self.descriptor, _SEND, struct.pack("=QqiI", call.id, 0, error, flags))
            except OSError as trouble:
                if trouble.errno != errno.ENOENT:
                    raise

    def close(self) -> None:
        with self._lock:
            self._open = False
            os.close(self.descriptor)


class TtyCalls:
    """Answers the calls of every client; one thread for each client's listener."""

    def __init__(self, hub: TtyHub) -> None:
        self._hub = hub

    def serve(self, listener: int) -> None:
        """Takes over the descriptor ``listener`` until its last client has gone."""
        threading.Thread(target=self._run, args=(_Listener(listener),), name="tty-calls", daemon=True).start()

    def _run(self, listener: _Listener) -> None:
        poll = select.poll()
        poll.register(listener.descriptor, select.POLLIN)
        try:
            while True:
                events = poll.poll()[0][1]
                if events & select.POLLIN:
                    self._one(listener)
                elif events & (select.POLLHUP | select.POLLERR):
                    return
        finally:
            listener.close()

    def _one(self, listener: _Listener) -> None:
        call = listener.receive()
        if call is None:
            return
        error, flags = 0, _CONTINUE
        try:
            tty = self._tty_of(call)
            if tty is not None and listener.waits(call):
                self._hub.catch_up()
                later = Later(lambda number: listener.answer(call, -number, 0), lambda: listener.waits(call))
                done = handle(tty, call, later)
                if done is None:
                    return
                flags = 0 if done else _CONTINUE
        except OSError as trouble:
            error, flags = -(trouble.errno or errno.EIO), 0
        except Exception:
            _log.exception("a board failed in tty request %#x", call.request)
        listener.answer(call, error, flags)

    def _tty_of(self, call: Call) -> Tty | None:
        try:
            status = os.stat(f"/proc/{call.pid}/fd/{call.descriptor}")
        except OSError:
            return None
        return self._hub.find((status.st_dev, status.st_ino))
