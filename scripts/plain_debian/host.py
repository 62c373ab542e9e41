"""What the plain Debian takes over from this machine: how to reach the network and the package registries, no more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
REGISTRY_FILES = ("/etc/pip.conf", "/etc/xdg/pip", "/etc/npmrc", "/usr/etc/npmrc")
CERTIFICATES = "/usr/local/share/ca-certificates"
# Below the home of whoever calls; they go into the home of whoever runs the command.
HOME_FILES = (".config/pip", ".pip", ".npmrc")
_VARIABLES = re.compile(
    r"(https?|ftp|all|no)_proxy|(pip|npm_config)_.+"
    r"|ssl_cert_(file|dir)|curl_ca_bundle|requests_ca_bundle|node_extra_ca_certs|git_ssl_cainfo",
    re.IGNORECASE,
)
_APT_SETTINGS = re.compile(r"Acquire::(https?|ftp|Check-|ForceIPv|Retries)\S*\s")
_INDEX_FIELDS = "$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those that say how registries are reached."""
    return {name: value for name, value in environment.items() if _VARIABLES.fullmatch(name)}


def usable(carried: Mapping[str, str], root: Path) -> dict[str, str]:
    """``carried`` without those that name a file which ``root`` does not have: they would mislead there."""
    return {
        name: value
        for name, value in carried.items()
        if not value.startswith("/") or (root / value.lstrip("/")).exists()
    }


def copy(source: Path, root: Path, target: Path | None = None) -> bool:
    """Copy a file or a folder to the same place below ``root``, or to ``target`` there. False: there is none."""
    if not source.exists():
        return False
    place = root / str(target or source).lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, place, dirs_exist_ok=True)
    else:
        place.unlink(missing_ok=True)
        shutil.copyfile(source, place)  # its text: /etc/resolv.conf is often a link
        shutil.copymode(source, place)
    return True


def copy_certificates(carried: Mapping[str, str], root: Path) -> bool:
    """The machine's own authorities, and the files that variables name. True: some are to be made known."""
    for value in carried.values():
        if value.startswith("/") and Path(value).is_file() and not (root / value.lstrip("/")).exists():
            copy(Path(value), root)
    return copy(Path(CERTIFICATES), root)


def apt_settings() -> str:
    """This machine's settings for downloads by apt, proxies for one; hooks and caches stay behind."""
    lines = _ask("apt-config", "dump", "Acquire").splitlines()
    kept = [line for line in lines if _APT_SETTINGS.match(line) and "Auto-Detect" not in line]
    return "".join(f"{line}\n" for line in kept if not line.endswith(' "";'))


def apt_sources(suite: str) -> list[str]:
    """Where this machine has ``suite`` from, as lines of a sources.list; empty when it is another Debian."""
    found = _ask("apt-get", "indextargets", "--format", _INDEX_FIELDS, "Created-By: Packages")
    return list(_sources(found.splitlines(), suite))


def _sources(lines: Iterable[str], suite: str) -> Iterator[str]:
    seen = set()
    for line in lines:
        origin, address, codename, component = (line.split("|") + [""] * 3)[:4]
        of_suite = codename in (suite, f"{suite}-updates", f"{suite}-security")
        if origin != "Debian" or component != "main" or not of_suite or codename in seen:
            continue
        seen.add(codename)
        yield f"deb {address} {codename} main"


def mirror(sources: Iterable[str], suite: str) -> str | None:
    """The archive that debootstrap is to use; None for its own choice."""
    return next((line.split()[1] for line in sources if line.split()[2] == suite), None)


def debootstrap_environment(settings: str) -> dict[str, str]:
    """debootstrap does not read apt's settings: apt's proxy becomes a variable where there is none."""
    environment = dict(os.environ)
    proxy = re.search(r'^Acquire::http::Proxy "(.+)";$', settings, re.MULTILINE)
    if proxy and proxy[1] != "DIRECT":
        environment.setdefault("http_proxy", proxy[1])
    return environment


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""  # no apt: then nothing is carried
    return done.stdout if done.returncode == 0 else ""
