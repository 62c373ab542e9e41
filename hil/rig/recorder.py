"""The packets of a whole run, of which a test that fails takes its own part."""

from __future__ import annotations

from hil.netlab import pcap
from hil.netlab.client import Network

RENEWED_AFTER = 25  # tests: what no failed test asked for goes before the capture's bound is near


class Recorder:
    """One capture that runs on from test to test: each end of one costs the kernel's packet sockets some 10 ms."""

    def __init__(self, lease: Network) -> None:
        self._lease = lease
        self._running = False
        self._tests = 0

    def begin(self) -> float:
        """A test begins: its packets are those from the returned moment on (seconds since 1970, the service's clock).

        Raises ``NetworkError``.
        """
        self._tests += 1
        if self._running and self._tests % RENEWED_AFTER == 0:
            self._running = False
            self._lease.capture_stop()
        if not self._running:
            self._lease.capture_start()
            self._running = True
        return float(self._lease.status()["time"])

    def since(self, began: float) -> bytes:
        """The packets from the moment ``began`` on, a pcap file. Raises ``NetworkError``."""
        self._running = False
        frames = pcap.read(self._lease.capture_stop())
        return pcap.write(frame for frame in frames if frame.time_ns >= began * 1e9)

    def close(self) -> None:
        """End the capture."""
        self._lease.close()
