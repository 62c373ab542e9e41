"""The packets of every test that has a board: captured always, kept for the report of those that fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from hil.errors import HilError, NetworkError

if TYPE_CHECKING:
    from hil.netlab.client import Network
    from hil.report.evidence import Evidence
    from hil.rig.live import Rig


@contextmanager
def captured(rig: Rig, evidence: Evidence) -> Iterator[None]:
    """For a ``with`` block capture what the boards' links carry, where there is a network service.

    Trouble with that is no trouble of the test: its report then says why it has no packets.
    """
    lease = None
    with suppress(HilError):
        lease = rig.recorder()
    if lease is None:
        yield
        return
    capture = _Capture(lease)
    evidence.add("packets", "pcap", capture.stop)
    try:
        yield
    finally:
        with suppress(NetworkError):
            capture.stop()


class _Capture:
    def __init__(self, lease: Network) -> None:
        self._lease = lease
        self._data: bytes | None = None
        self._trouble: NetworkError | None = None
        try:
            lease.capture_start()
        except NetworkError as error:
            self._trouble = error

    def stop(self) -> bytes:
        """End the capture, once, and give its pcap file."""
        if self._trouble is not None:
            raise self._trouble
        if self._data is None:
            try:
                self._data = self._lease.capture_stop()
            except NetworkError as error:
                self._trouble = error
                raise
        return self._data
