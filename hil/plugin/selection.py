"""Which tests run on which boards: one test item for each platform, so that ids and histories stay stable.

The rig file decides, read once; nothing here touches USB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hil.device.platforms import PLATFORMS
from hil.errors import UsageError

if TYPE_CHECKING:
    from hil.rig.rigfile import RigFile

RIG_KEY = pytest.StashKey["RigFile"]()


def rig_of(config: pytest.Config) -> RigFile:
    """The rig of this session, loaded at first use."""
    if RIG_KEY not in config.stash:
        from hil.rig.rigfile import find_rig, load_rig  # slow to import; only when a test asks for a board

        try:
            config.stash[RIG_KEY] = load_rig(find_rig(config.getoption("--rig")))
        except UsageError as error:
            pytest.fail(str(error), pytrace=False)
    return config.stash[RIG_KEY]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Turn a test that asks for ``board`` into one item for each platform."""
    if "board" not in metafunc.fixturenames:
        return
    rig = rig_of(metafunc.config)
    wanted = _wanted_platforms(metafunc)
    chosen = _chosen_slots(rig, metafunc.config.getoption("--board"))
    offered = [slot.platform for slot in rig.slots if slot.name in chosen and slot.platform in wanted]
    names = list(dict.fromkeys(offered))
    if names:
        metafunc.parametrize("board", names, indirect=True, scope="function")
        return
    have = ", ".join(sorted({slot.platform for slot in rig.slots}))
    reason = f"needs one of {', '.join(wanted)}; rig {rig.name} has {have}"
    skip = pytest.param("none", marks=pytest.mark.skip(reason=reason))
    metafunc.parametrize("board", [skip], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put tests that change a board's firmware last; with ``--board`` leave out what does not run there.

    Each such test costs the next one a flash: together at the end they cost the fewest.
    """
    items.sort(key=lambda item: item.get_closest_marker("firmware") is not None)
    if not config.getoption("--board"):
        return
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        skipped = any(
            mark.kwargs.get("reason", "").startswith("needs one of") for mark in item.iter_markers("skip")
        )
        (left if skipped else kept).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def _wanted_platforms(metafunc: pytest.Metafunc) -> list[str]:
    known = [platform.name for platform in PLATFORMS]
    marker = metafunc.definition.get_closest_marker("board")
    names = list(marker.args) if marker is not None else []
    for name in names:
        if name not in known:
            place = metafunc.definition.nodeid
            pytest.fail(f"{place}: no platform {name!r}; known are {', '.join(known)}", pytrace=False)
    return names or known


def _chosen_slots(rig: RigFile, boards: list[str]) -> set[str]:
    if not boards:
        return {slot.name for slot in rig.slots}
    chosen = {slot.name for slot in rig.slots if slot.name in boards or slot.platform in boards}
    unknown = [name for name in boards if not any(name in (slot.name, slot.platform) for slot in rig.slots)]
    if unknown:
        have = ", ".join(f"{slot.name} ({slot.platform})" for slot in rig.slots)
        pytest.fail(f"--board {unknown[0]}: rig {rig.name} has no such board; it has {have}", pytrace=False)
    return chosen
