"""The doctor on a computer that is short of something."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import NoReturn

import pytest

from hil.cli import doctor
from hil.rig.doctorline import Verdict


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.EACCES, "sudo chmod 1777 /tmp"),
        (errno.EROFS, "sudo mount -o remount,rw /tmp"),
        (errno.EIO, "ls -ld"),
    ],
)
def test_6_15_a_tmp_that_cannot_be_written_is_a_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, number: int, fix: str
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number), "/tmp/hil-probe-x")

    monkeypatch.delenv("HIL_RACK", raising=False)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    check = doctor.virtual_rack()
    assert check.verdict is Verdict.MISSING
    assert os.strerror(number) in check.found
    assert check.fix.startswith(fix)
