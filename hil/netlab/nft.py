"""The kernel's firewall through libnftables, in this process: no exec, about a millisecond a change.

The netlink socket of a context stays in the network namespace where it was opened. A table made with
``flags owner`` belongs to that socket: the kernel deletes it when the socket closes, also after SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading

from hil.errors import NetworkError
from hil.netlab.namespaces import NetworkNamespace

_OUTPUT_JSON = 1 << 4
# Names of protocols come from /etc/protocols, which a small Debian lacks: numbers are the same everywhere.
_OUTPUT_NUMERIC_PROTOCOLS = 1 << 7
_NETLINK_NETFILTER = 12
_LIBRARY = "libnftables.so.1"


class Nftables:
    """A connection to the firewall of one network namespace; may be used from any thread."""

    def __init__(self, namespace: NetworkNamespace) -> None:
        """Raises ``NetworkError`` when libnftables is missing."""
        self._library = _load()
        self._lock = threading.Lock()
        self._context: int | None = namespace.run(self._open)
        _close_netlink_sockets_on_exec()

    def run(self, script: str) -> None:
        """Apply the commands in ``script`` as one transaction: all of them or none. Raises ``NetworkError``."""
        self._execute(script, 0)

    def query(self, command: str) -> str:
        """What ``command`` (such as ``list set inet hil passed_up``) prints, as JSON text with protocol numbers."""
        return self._execute(command, _OUTPUT_JSON | _OUTPUT_NUMERIC_PROTOCOLS)

    def close(self) -> None:
        """Close the connection; the kernel deletes the tables that it owns. Idempotent."""
        with self._lock:
            context, self._context = self._context, None
            if context is not None:
                self._library.nft_ctx_free(context)

    def _open(self) -> int:
        context: int | None = self._library.nft_ctx_new(0)
        if not context:
            raise NetworkError("cannot open a connection to nftables")
        self._library.nft_ctx_buffer_output(context)
        self._library.nft_ctx_buffer_error(context)
        return context

    def _execute(self, script: str, flags: int) -> str:
        with self._lock:
            if self._context is None:
                raise NetworkError("the connection to nftables is closed")
            self._library.nft_ctx_output_set_flags(self._context, flags)
            status = self._library.nft_run_cmd_from_buffer(self._context, script.encode())
            output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
            error: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if status != 0:
            raise NetworkError(
                "nftables refused a change",
                found=error.decode(errors="replace").strip()[:500],
                hint="the process needs CAP_NET_ADMIN over the namespace and a kernel with nf_tables (5.12 or newer)",
            )
        return output.decode()


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise NetworkError(f"{_LIBRARY} is missing", found=str(error), hint="apt install nftables") from error
    pointer = ctypes.c_void_p
    library.nft_ctx_new.restype = pointer
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.restype = None
    library.nft_ctx_output_set_flags.restype = None
    library.nft_ctx_output_set_flags.argtypes = [pointer, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [pointer, ctypes.c_char_p]
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [pointer]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [pointer]
        getattr(library, name).restype = ctypes.c_char_p
    return library


def _close_netlink_sockets_on_exec() -> None:
    # libmnl opens its socket without O_CLOEXEC: a program that inherited it would keep our rules alive.
    for name in os.listdir("/proc/self/fd"):
        try:
            if _is_netfilter_socket(int(name)):
                os.set_inheritable(int(name), False)
        except OSError:
            continue  # closed meanwhile by another thread


def _is_netfilter_socket(fd: int) -> bool:
    if not os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
        return False
    with socket.socket(fileno=os.dup(fd)) as duplicate:
        domain = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
        return bool(domain == socket.AF_NETLINK and duplicate.proto == _NETLINK_NETFILTER)
