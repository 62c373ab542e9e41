"""Which tests run on which boards: one test item for each platform, so that ids and histories stay stable.

The rig file decides, read once; nothing here touches USB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pytest

from hil.errors import UsageError
from hil.plugin.needs import Application, Need, application, need_of

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

    from hil.rig.project import Project
    from hil.rig.rigfile import RigFile, SlotTable

PROJECT_KEY = pytest.StashKey["Project"]()
RIG_KEY = pytest.StashKey["RigFile"]()
MISUSE_KEY = pytest.StashKey[str]()
NOWHERE = "none"  # the parameter of a test that no board of the rig, or none that was chosen, can run
# What ``board`` is made of; a fixture or parameter of that name in somebody else's repository is not.
FOUNDATION = frozenset({"rig", "evidence"})


def project_of(config: pytest.Config) -> Project:
    """The project of this session, from pytest's root directory upwards. Raises ``UsageError``."""
    if PROJECT_KEY not in config.stash:
        from hil.rig.project import find_project

        config.stash[PROJECT_KEY] = find_project(config.rootpath)
    return config.stash[PROJECT_KEY]


def rig_of(config: pytest.Config) -> RigFile:
    """The rig of this session, loaded at first use. Raises ``UsageError`` that names every mistake in it."""
    if RIG_KEY not in config.stash:
        from hil.rig.rigfile import find_rig, load_rig  # slow to import; only when a test asks for a board

        config.stash[RIG_KEY] = load_rig(find_rig(config.getoption("--rig"), project_of(config)))
    return config.stash[RIG_KEY]


def default_application(config: pytest.Config) -> Application | None:
    """The application of tests that do not name one: ``--app``, else the project's; ``None`` for whatever runs."""
    named = config.getoption("--app") or project_of(config).app
    return application(named) if named else None


def need(node: pytest.Item | pytest.Function) -> Need:
    """What a test asks for, with the run's default application."""
    return need_of(node, default_application(node.config))


def chosen(config: pytest.Config) -> list[SlotTable]:
    """The slots that ``--board`` names, by slot or platform; all of the rig without it. Raises ``UsageError``."""
    rig, words = rig_of(config), config.getoption("--board")
    if not words:
        return list(rig.slots)
    names = {slot.name for slot in rig.slots}
    by_word = {
        word: [slot for slot in rig.slots if word == (slot.name if word in names else slot.platform)]
        for word in words
    }
    for word, slots in by_word.items():
        if not slots:
            raise UsageError(
                f"--board {word}: rig {rig.name} has no such board",
                expected=", ".join(f"{slot.name} ({slot.platform})" for slot in rig.slots),
                hint="name a slot or a platform of the rig file",
            )
    wanted = {slot.name for slots in by_word.values() for slot in slots}
    return [slot for slot in rig.slots if slot.name in wanted]


def candidates(config: pytest.Config, parameter: str, wanted: Need) -> list[str]:
    """The chosen slots that can be ``board`` for an item with this parameter."""
    by_slot = config.getoption("--each-board")
    return [
        slot.name
        for slot in chosen(config)
        if parameter == (slot.name if by_slot else slot.platform) and _suits(slot, wanted)
    ]


def companions(config: pytest.Config, platform: str, slot: str, wanted: Need) -> list[str]:
    """Slots for a second board beside ``slot``: of its own platform when the test wants several of one.

    Otherwise boards of other platforms come first.
    """
    others = [other for other in rig_of(config).slots if other.name != slot]
    if wanted.count > 1:
        return [other.name for other in others if other.platform == platform and _suits(other, wanted)]
    return [other.name for other in sorted(others, key=lambda other: other.platform == platform)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Turn a test that asks for a board into one item for each platform, or each board with ``--each-board``."""
    if not _asks_for_board(metafunc.fixturenames):
        return
    try:
        parameters = _parameters(metafunc)
    except UsageError as error:
        # Raised here it would be a traceback for each file.
        metafunc.config.stash.setdefault(MISUSE_KEY, str(error))
        parameters = [NOWHERE]
    metafunc.parametrize("board", parameters, indirect=True, scope="function")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put tests that change a board's firmware last; with ``--board`` leave out what does not run there.

    Each such test costs the next one a flash: together at the end they cost the fewest.
    """
    if MISUSE_KEY in config.stash:
        raise pytest.UsageError(config.stash[MISUSE_KEY])
    items.sort(key=lambda item: item.get_closest_marker("firmware") is not None)
    if not config.getoption("--board"):
        return
    left = [item for item in items if parameter_of(item) == NOWHERE]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def _asks_for_board(fixtures: Iterable[str]) -> bool:
    """Whether a test with these fixtures, and what they ask for in turn, wants a board of the rig."""
    return {"board", *FOUNDATION} <= set(fixtures)


def _parameters(metafunc: pytest.Metafunc) -> Sequence[str | ParameterSet]:
    """Platforms or slots to run a test on; one skipped item with the reason where there is none."""
    config, wanted = metafunc.config, need(metafunc.definition)
    rig = rig_of(config)
    able = _able(rig.slots, wanted)
    offered = [slot for slot in chosen(config) if slot.name in able]
    by_slot = config.getoption("--each-board")
    if offered:
        return list(dict.fromkeys(slot.name if by_slot else slot.platform for slot in offered))
    have = ", ".join(f"{slot.name} ({_kind(slot)})" for slot in rig.slots)
    reason = f"needs {wanted}; rig {rig.name} has {have}"
    return [pytest.param(NOWHERE, marks=pytest.mark.skip(reason=reason))]


def parameter_of(item: pytest.Item) -> str | None:
    """The platform (or slot) that an item was made for; ``None`` for one without a board."""
    if not _asks_for_board(getattr(item, "fixturenames", ())):
        return None
    callspec = getattr(item, "callspec", None)
    value = callspec.params.get("board") if callspec is not None else None
    return value if isinstance(value, str) else None


def _able(slots: Sequence[SlotTable], wanted: Need) -> set[str]:
    """Slots that suit, of platforms of which the rig has as many as the test wants."""
    suited = [slot for slot in slots if _suits(slot, wanted)]
    platforms = [slot.platform for slot in suited]
    return {slot.name for slot in suited if platforms.count(slot.platform) >= wanted.count}


def _suits(slot: SlotTable, wanted: Need) -> bool:
    right = not wanted.platforms or slot.platform in wanted.platforms
    return right and wanted.features <= slot.offers


def _kind(slot: SlotTable) -> str:
    return " ".join([slot.kind, *_with(slot.features)])


def _with(features: Iterable[str]) -> list[str]:
    words = ", ".join(features)
    return [f"with {words}"] if words else []
