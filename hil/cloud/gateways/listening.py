"""Sockets that the cloud listens on, and in one sentence why one cannot be had."""

from __future__ import annotations

import errno
import socket

from hil import ports
from hil.errors import CloudError

_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


def listener(protocol: ports.Protocol, host: str, port: int, setting: str) -> socket.socket:
    """A socket bound to ``host`` and ``port`` (0: any free one); a TCP one listens.

    ``setting`` is the key of the rig file's ``[cloud]`` that says the port: ``tcp_port``, ``udp_port`` or
    ``http_port``. Raises ``CloudError`` that names address, key and what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, _KINDS[protocol])
    try:
        if protocol == "TCP":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        if protocol == "TCP":
            sock.listen(1024)  # two may bind with SO_REUSEADDR; only one can listen
    except (OSError, OverflowError) as error:
        sock.close()
        raise _refusal(protocol, host, port, setting, error) from error
    sock.setblocking(False)
    return sock


def _refusal(protocol: ports.Protocol, host: str, port: int, setting: str, error: Exception) -> CloudError:
    what = f"the cloud cannot listen on {protocol} {host}:{port}"
    number = error.errno if isinstance(error, OSError) else None
    keys = f"{setting} of [cloud] in the rig file, --{setting.replace('_', '-')} of `hil cloud`"
    if number == errno.EADDRINUSE:
        return CloudError(
            f"{what}: the port is taken",
            found=ports.taken(protocol, port),
            hint=f"end that, or choose another port: {keys}",
        )
    if number == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return CloudError(
            f"{what}: that is no address of this machine",
            expected=", ".join(ports.own_addresses()),
            hint="say this machine's address in the boards' network: host of [cloud] in the rig file, --host of "
            "`hil cloud`; the virtual rack's address exists only inside it: hil rack run -- pytest suites",
        )
    hint = "ports below 1024 are root's; choose another" if number == errno.EACCES else "choose another port"
    return CloudError(what, found=str(error), hint=f"{hint}: {keys}")
