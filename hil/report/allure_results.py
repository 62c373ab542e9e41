"""What the harness adds to allure-pytest's results: steps, attachments, labels, environment, categories.

The physical board is an *excluded* parameter: Allure's history id is made of the test's name and its
parameters that are not excluded, so a test keeps its history whichever board of a platform runs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import allure

from hil.report.evidence import Exhibit

# Allure's own file categories: "product" is a failed assertion, the others are errors of hil.errors.
CATEGORIES = [
    {
        "name": "Rig",
        "matchedStatuses": ["broken"],
        "traceRegex": "(?s).*(RigError|BoardNotFound|FlashError).*",
    },
    {"name": "Network", "matchedStatuses": ["broken"], "traceRegex": "(?s).*NetworkError.*"},
    {
        "name": "Cloud",
        "matchedStatuses": ["broken"],
        "traceRegex": "(?s).*(CloudError|DeviceOffline|DeviceTimeout).*",
    },
    {"name": "Product", "matchedStatuses": ["failed"]},
]


def step(title: str) -> AbstractContextManager[object]:
    """A step of the report around what happens inside the ``with`` block."""
    manager: AbstractContextManager[object] = allure.step(title)
    return manager


def label_board(slot: str, platform: str) -> None:
    """Name the physical board of the running test without letting it into the test's history id."""
    allure.dynamic.parameter("physical board", slot, excluded=True)
    allure.dynamic.tag(platform)
    allure.dynamic.parent_suite(platform)


def name_peer(slot: str) -> None:
    """Name the second board of the running test."""
    allure.dynamic.parameter("physical peer", slot, excluded=True)


def attach(exhibits: Iterable[Exhibit]) -> None:
    """Attach exhibits to the running test."""
    for exhibit in exhibits:
        allure.attach(exhibit.content, name=exhibit.name, extension=exhibit.extension)


def write_environment(folder: Path, facts: Mapping[str, str]) -> None:
    """Write ``environment.properties`` and ``categories.json`` beside the results."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{key}={value}" for key, value in facts.items()]
    (folder / "environment.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "categories.json").write_text(json.dumps(CATEGORIES, indent=2) + "\n", encoding="utf-8")
