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

from hil.errors import Category
from hil.observe import Outcome, Step
from hil.report import categories
from hil.report.evidence import Exhibit

CONFIGURATION = (
    "allurerc.mjs"  # what Allure 3 calls the file that its --config names, when it holds functions
)
SETTINGS = "allurerc.json"
AGAIN_VARIABLE = "HIL_REPORT_AGAIN"  # set: these results are in the history already
HISTORY = "history.jsonl"
_CONFIGURATION = f"""\
// Written by each run, for `hil report` and `allure awesome --config`: {SETTINGS} and what JSON cannot say.
import {{ readFileSync }} from "node:fs";
import {{ fileURLToPath }} from "node:url";

const beside = (name) => fileURLToPath(new URL(name, import.meta.url));
const {{ platforms, ...settings }} = JSON.parse(readFileSync(beside("{SETTINGS}"), "utf-8"));
const tagged = (platform) => ({{ labels }}) =>
  labels.some((label) => label.name === "tag" && label.value === platform);

export default {{
  ...settings,
  historyPath: beside("{HISTORY}"),
  appendHistory: !process.env.{AGAIN_VARIABLE},
  environments: Object.fromEntries(platforms.map((name) => [name, {{ name, matcher: tagged(name) }}])),
}};
"""


class AllureSteps:
    """An observer that makes a step of the report of everything that is done."""

    def __init__(self) -> None:
        self._open: dict[Step, AbstractContextManager[object]] = {}

    def begin(self, step: Step) -> None:
        manager: AbstractContextManager[object] = allure.step(step.title)
        manager.__enter__()
        self._open[step] = manager

    def end(self, step: Step, outcome: Outcome) -> None:
        error = outcome.error
        trace = error.__traceback__ if error is not None else None
        self._open.pop(step).__exit__(type(error) if error is not None else None, error, trace)


def label_board(slot: str, platform: str) -> None:
    """Name the physical board of the running test without letting it into the test's history id."""
    allure.dynamic.parameter("physical board", slot, excluded=True)
    allure.dynamic.tag(platform)
    allure.dynamic.tag(
        slot
    )  # lists show tags, and can be filtered by them; parameters are on a test's own page
    allure.dynamic.parent_suite(platform)


def name_peer(slot: str) -> None:
    """Name the second board of the running test."""
    allure.dynamic.parameter("physical peer", slot, excluded=True)


def file_under(category: Category) -> None:
    """Say whose trouble the running test is."""
    allure.dynamic.label(categories.LABEL, str(category))


def attach(exhibits: Iterable[Exhibit]) -> None:
    """Attach exhibits to the running test."""
    for exhibit in exhibits:
        allure.attach(exhibit.content, name=exhibit.name, extension=exhibit.extension)


def write_environment(folder: Path, facts: Mapping[str, str], platforms: Iterable[str] = ()) -> None:
    """Write ``environment.properties`` and ``categories.json`` (Allure 2) among the results in ``folder``.

    Beside the folder goes a configuration for Allure 3: categories, a history file, an environment for each of
    ``platforms``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{key}={value}" for key, value in facts.items()]
    (folder / "environment.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_json(folder / "categories.json", categories.allure2_rules())
    settings = {"name": "hil", "categories": categories.allure3_rules(), "platforms": sorted(set(platforms))}
    _write_json(folder.parent / SETTINGS, settings)
    (folder.parent / CONFIGURATION).write_text(_CONFIGURATION, encoding="utf-8")


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
