"""Device OS releases: system module versions of the protocol fact sheet 3.2, and the word on unknown ones."""

import pytest

from hil.device.releases import (
    UnknownRelease,
    known_releases,
    release_of,
    system_module_version,
    version_tuple,
)
from hil.errors import UsageError


@pytest.mark.parametrize(("release", "version"), [("2.3.1", 2302), ("3.0.0", 3005), ("6.2.0", 6200)])
def test_a_release_carries_system_modules_of_a_version_of_their_own(release: str, version: int) -> None:
    assert system_module_version(release) == version
    assert release_of(version) == release


def test_a_system_version_of_no_known_release_names_none() -> None:
    assert release_of(2301) is None


def test_the_known_releases_come_oldest_first() -> None:
    releases = known_releases()
    assert list(releases) == sorted(releases, key=version_tuple)
    assert {"2.3.1", "3.3.1", "6.2.0"} <= set(releases)


def test_an_unknown_release_is_told_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        system_module_version("6.2.1")
    error = caught.value
    assert isinstance(error, UnknownRelease)
    assert error.found == "'6.2.1'"
    assert all(release in error.expected for release in known_releases())
    assert error.hint == "did you mean 6.2.0?"


def test_nothing_is_suggested_for_what_is_like_no_release() -> None:
    assert UnknownRelease("latest").hint == ""


def test_a_pre_release_counts_as_its_release() -> None:
    assert version_tuple("6.3.0-rc.1") == (6, 3, 0)
    assert version_tuple("10.0.0") > version_tuple("9.9.9")
