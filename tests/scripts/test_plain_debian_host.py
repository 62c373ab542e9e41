"""What ``scripts/plain-debian`` takes over from the machine, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.plain_debian import host

TARGETS = """\
Debian|http://archive.test/debian/|bookworm|main
Debian|http://archive.test/debian/|bookworm|contrib
Debian|http://archive.test/debian/|bookworm-updates|main
Debian|http://security.test/debian/|bookworm-security|main
Debian|http://mirror.test/debian/|bookworm|main
Debian|http://archive.test/debian/|trixie|main
Somebody else|http://tools.test/deb/|bookworm|main
"""
SETTINGS = """\
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.test:3128";
Acquire::http::Proxy-Auto-Detect "/usr/local/bin/detect";
Acquire::Check-Valid-Until "false";
Acquire::IndexTargets::deb::Packages::MetaKey "$(COMPONENT)";
"""


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"apt-get": TARGETS, "apt-config": SETTINGS}
    monkeypatch.setattr(host, "_ask", lambda *words: answers[words[0]])


@pytest.mark.usefixtures("answer")
def test_debian_comes_from_where_the_machine_has_it_and_nobody_elses_packages_do() -> None:
    sources = host.apt_sources("bookworm")
    assert sources == [
        "deb http://archive.test/debian/ bookworm main",
        "deb http://archive.test/debian/ bookworm-updates main",
        "deb http://security.test/debian/ bookworm-security main",
    ]
    assert host.mirror(sources, "bookworm") == "http://archive.test/debian/"
    assert host.apt_sources("forky") == []
    assert host.mirror([], "forky") is None


@pytest.mark.usefixtures("answer")
def test_proxies_come_along_and_hooks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = host.apt_settings()
    assert settings.splitlines() == [
        'Acquire::http::Proxy "http://proxy.test:3128";',
        'Acquire::Check-Valid-Until "false";',
    ]
    monkeypatch.delenv("http_proxy", raising=False)
    assert host.debootstrap_environment(settings)["http_proxy"] == "http://proxy.test:3128"
    assert "http_proxy" not in host.debootstrap_environment("")
    monkeypatch.setenv("http_proxy", "http://own.test")
    assert host.debootstrap_environment(settings)["http_proxy"] == "http://own.test"


def test_variables_of_registries_come_along_and_no_others() -> None:
    wanted = {"HTTPS_PROXY": "x", "no_proxy": "x", "PIP_CERT": "x", "npm_config_registry": "x"}
    wanted |= {"SSL_CERT_FILE": "x", "NODE_EXTRA_CA_CERTS": "x"}
    assert host.variables({**wanted, "HOME": "/root", "LANG": "C", "HIL_RIG": "x", "GIT_DIR": "x"}) == wanted


def test_a_variable_that_names_a_missing_file_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ca.crt").touch()
    carried = {"PIP_CERT": "/etc/ca.crt", "PIP_FIND_LINKS": "/opt/no-such", "PIP_RETRIES": "3"}
    assert host.usable(carried, tmp_path) == {"PIP_CERT": "/etc/ca.crt", "PIP_RETRIES": "3"}


def test_a_certificate_that_a_variable_names_comes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, root = tmp_path / "own.crt", tmp_path / "root"
    own.write_text("authority")
    root.mkdir()
    monkeypatch.setattr(host, "CERTIFICATES", str(tmp_path / "none"))
    carried = {"SSL_CERT_FILE": str(own), "PIP_RETRIES": "3"}
    assert host.copy_certificates(carried, root) is False
    assert (root / str(own).lstrip("/")).read_text() == "authority"
    assert host.usable(carried, root) == carried


def test_a_link_is_copied_as_what_it_names_and_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("nameserver 192.0.2.1\n")
    (tmp_path / "resolv.conf").symlink_to(tmp_path / "real")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/resolv.conf").symlink_to("/nowhere")
    assert host.copy(tmp_path / "resolv.conf", root, Path("/etc/resolv.conf"))
    assert (root / "etc/resolv.conf").read_text() == "nameserver 192.0.2.1\n"
    assert not (root / "etc/resolv.conf").is_symlink()
    assert not host.copy(tmp_path / "no-such", root)
