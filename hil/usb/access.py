"""Whether this user may open a board's nodes. USB fact sheet 1.5.

udev has set owner, group and mode before it tells anybody of a device, so a closed node stays closed: no use to wait.
"""

from __future__ import annotations

import os
from pathlib import Path

from hil.usb.sysfs import UsbBoard
from hil.usb.transport import NoPermission, usb_node


def closed_node(board: UsbBoard) -> Path | None:
    """The first of the board's nodes, on USB and its serial port, that is there and that we may not read and write."""
    nodes = [usb_node(board.bus, board.address), *([Path(board.tty)] if board.tty is not None else [])]
    return next((node for node in nodes if node.exists() and not os.access(node, os.R_OK | os.W_OK)), None)


def check_access(board: UsbBoard) -> None:
    """Raises ``NoPermission`` when a node of ``board`` is closed to this user."""
    node = closed_node(board)
    if node is not None:
        raise NoPermission(board, node)
