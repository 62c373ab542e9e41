"""Runs commands as the first process of a pid namespace, whose duty it is to bury everybody's orphans."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Mapping, Sequence

from scripts.plain_debian.accounts import Account
from scripts.plain_debian.common import say

_APT_LINE = re.compile(r"^\s+(sudo apt-get .*\S)\s*$", re.MULTILINE)
_NOT_EXECUTED = 127
_LAST_WORDS = 5.0  # seconds for what is still in the pipe; a daemon left behind may hold it open for ever


def run(command: Sequence[str], account: Account, carried: Mapping[str, str]) -> int:
    """The status of ``command`` after it has ended."""
    return _wait_for(_start(command, account, carried))


def run_after_apt_line(command: Sequence[str], account: Account, carried: Mapping[str, str]) -> int:
    """As a person with sudo would: the command, the one line that it asks for, the command again."""
    status, text = _run_and_read(command, account, carried)
    line = apt_line(text)
    if status == 0 or line is None:
        return status
    say(f"as root, the one line: {line}")
    quiet = f'said=$( {{ {without_sudo(line)}; }} 2>&1 ) || {{ echo "$said"; exit 1; }}'
    status = run(["sh", "-c", quiet], Account.root(), {**carried, "DEBIAN_FRONTEND": "noninteractive"})
    if status != 0:
        say(f"the one line failed with status {status}")
        return status
    say(f"once more: {' '.join(command)}")
    return run(command, account, carried)


def apt_line(text: str) -> str | None:
    """The line for somebody with sudo in what ``scripts/setup`` wrote."""
    found = _APT_LINE.search(text)
    return found[1] if found else None


def without_sudo(line: str) -> str:
    """``line`` for root on a Debian that has no sudo."""
    return re.sub(r"\bsudo ", "", line)


def _start(command: Sequence[str], account: Account, carried: Mapping[str, str], output: int = -1) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the command as well
    child = os.fork()
    if child == 0:
        _become(command, account, carried, output)
    return child


def _wait_for(child: int) -> int:
    while True:
        process, status = os.wait()
        if process == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _run_and_read(command: Sequence[str], account: Account, carried: Mapping[str, str]) -> tuple[int, str]:
    reading, writing = os.pipe()
    child = _start(command, account, carried, writing)
    os.close(writing)
    parts: list[bytes] = []

    def read() -> None:
        while part := os.read(reading, 65536):
            os.write(2, part)
            parts.append(part)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    status = _wait_for(child)
    reader.join(_LAST_WORDS)
    return status, b"".join(parts).decode(errors="replace")


def _become(command: Sequence[str], account: Account, carried: Mapping[str, str], output: int) -> None:
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if output >= 0:
            os.dup2(output, 1)
            os.dup2(output, 2)
        if account.uid:
            os.setgroups([])
            os.setgid(account.uid)
            os.setuid(account.uid)
        environment = account.environment(carried)
        os.environ["PATH"] = environment["PATH"]
        os.execvpe(command[0], list(command), environment)
    except OSError as error:
        say(f"{command[0]}: {error.strerror}")
    finally:
        os._exit(_NOT_EXECUTED)
