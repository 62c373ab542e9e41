"""Benchmarks that take times: here only that they run, compare like with like, and print their table."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import aiocoap
import pytest

from benchmarks import __main__ as everything
from benchmarks import codec, handshake, nodelay, openssl, plugin
from benchmarks.pairs import DtlsPair, TcpPair
from benchmarks.table import Table, interleaved, ratio
from hil.wire.coap import message as coap


def test_rounds_are_interleaved_and_every_other_reversed() -> None:
    order: list[str] = []
    ticks = itertools.count()
    tasks = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    spent = interleaved(tasks, 3, lambda: float(next(ticks)))
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert spent == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_ratio_is_the_median_of_the_rounds() -> None:
    assert ratio([2.0, 9.0, 8.0], [1.0, 3.0, 4.0]) == 2.0
    assert ratio([1.0], [0.0]) == 0.0


def test_table_aligns_figures() -> None:
    table = Table("Title", ("what", "n"), note="note")
    table.add("first", 1)
    table.add("x", 200)
    assert str(table) == "Title\nwhat     n\n-----  ---\nfirst    1\nx      200\nnote"
    assert table.cell("x", "n") == "200"


def test_codecs_are_compared_on_the_same_94_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = coap.encode(codec.publish())
    assert len(data) == 94
    codec.check_parity(data)
    original = aiocoap.Message.encode
    monkeypatch.setattr(aiocoap.Message, "encode", lambda self: original(self)[:-1])
    with pytest.raises(AssertionError):
        codec.check_parity(data)


def test_codec_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    codec.main(["--rounds", "1", "--count", "5"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "CoAP codec, publish of 94 bytes, median of 1"
    assert [line.split()[0] for line in lines[3:]] == ["decode", "encode"]


def test_opponent_uses_the_boards_cipher_suite() -> None:
    assert openssl.handshaker()() == "ECDHE-ECDSA-AES128-CCM8"


def test_bare_work_is_what_the_handshakes_do() -> None:
    dtls, tcp = DtlsPair(), TcpPair()
    seen = handshake.operations(dtls.handshake)
    assert seen.total == 8
    assert handshake.operations(handshake.bare_dtls(dtls, seen.counts)).counts == seen.counts
    assert str(handshake.operations(tcp.handshake)) == (
        "2 rsa.decrypt, 2 rsa.encrypt, 1 rsa.recover_data_from_signature, 1 rsa.sign"
    )


def test_handshake_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    handshake.main(["--rounds", "1", "--count", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[3:6]] == [
        "DTLS / OpenSSL TLS 1.2",
        "DTLS / bare key work",
        "TCP / bare key work",
    ]


def test_plugin_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    plugin.main(["--rounds", "1", "--count", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[3:7]] == [
        "3 empty tests",
        "1 empty test",
        "import options, selection",
        "import all of the plugin",
    ]


def test_all_of_them_are_those_that_the_readme_names() -> None:
    readme = (Path(everything.__file__).parent / "README.md").read_text()
    assert everything.names() == sorted(
        re.findall(r"^\| `python -m benchmarks\.(\w+)`", readme, re.MULTILINE)
    )


def test_several_print_their_tables_in_turn(capfd: pytest.CaptureFixture[str]) -> None:
    assert everything.main(["resume", "ota"]) == 0
    said = capfd.readouterr().out
    assert said.index("first acknowledged publish") < said.index("Update of 131072 bytes")


def test_a_benchmark_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        everything.main(["resume", "nonsense"])
    assert "there is no benchmark nonsense; there are codec, " in capsys.readouterr().err


def test_nodelay_measures_every_setting() -> None:
    table, _met = nodelay.run(1)
    assert [row[0] for row in table.rows] == [*nodelay.SETTINGS, "ratio"]
