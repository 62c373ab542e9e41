"""Finds programs of the system."""

from __future__ import annotations

import os
import shutil

# Debian keeps administrative programs there, and an ordinary user's PATH does not name them.
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def find_program(name: str) -> str | None:
    """Where a program is, the system's administrative folders included."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}")
