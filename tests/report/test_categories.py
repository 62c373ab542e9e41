"""Each failed test is filed under one category: that of the exception that ended it, whatever its trace tells."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import hil
from hil.errors import Category, HilError, Signal
from hil.report.categories import allure2_rules, allure3_rules, category_of, error_types


def modules() -> list[str]:
    return [each.name for each in pkgutil.walk_packages(hil.__path__, "hil.") if each.name != "hil.__main__"]


@pytest.fixture(scope="module", autouse=True)
def everything_is_loaded() -> None:
    for name in modules():
        importlib.import_module(name)


def below(root: type[BaseException]) -> set[type[BaseException]]:
    return {root}.union(*map(below, root.__subclasses__()))


def filed_by_allure2(status: str, message: str) -> list[str]:
    """What Allure 2 does: statuses are compared, a pattern has to match the whole message."""
    return [
        str(rule["name"])
        for rule in allure2_rules()
        if status in rule["matchedStatuses"]  # type: ignore[operator]
        and re.fullmatch(str(rule.get("messageRegex", "(?s).*")), message)
    ]


def filed_by_allure3(category: str) -> list[str]:
    """What Allure 3 does: a pattern has to be found in a label's value."""
    matchers: list[Any] = [(rule["name"], rule["matchers"]) for rule in allure3_rules()]
    return [str(name) for name, each in matchers if re.search(each["labels"]["category"], category)]


def test_every_exception_of_hil_has_a_place_in_the_tree() -> None:
    own = {kind for kind in below(Exception) if kind.__module__.partition(".")[0] == "hil"}
    assert {str(kind) for kind in own if not issubclass(kind, HilError | Signal)} == set()


def test_every_error_is_filed_exactly_once() -> None:
    kinds = list(error_types())
    assert {"BoardHeld", "ProbeError", "RackFailed", "RequestTimeout", "TransferError"} <= {
        kind.__name__ for kind in kinds
    }
    assert Counter(kinds).most_common(1)[0][1] == 1
    for kind in kinds:
        text = f"{kind.__module__}.{kind.__qualname__}: something went wrong\n  found: hil.errors.RigError: x"
        assert filed_by_allure2("broken", text) == [kind.category], kind
        assert filed_by_allure3(kind.category) == [kind.category], kind


def test_a_branch_has_one_category_of_its_own() -> None:
    branches = {kind: kind.category for kind in HilError.__subclasses__()}
    assert len(set(branches.values())) == len(branches)
    assert Category.HARNESS not in branches.values()
    for branch, category in branches.items():
        assert {kind.category for kind in error_types(branch)} == {category}


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        ("failed", AssertionError("no"), "AssertionError: assert 1 == 2\n hil.errors.RigError: x"),
        ("failed", None, ""),
        ("broken", RuntimeError("hil.errors.RigError: x"), "RuntimeError: hil.errors.RigError: x"),
        ("broken", KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_what_is_no_error_of_hil(status: str, error: Exception | None, message: str) -> None:
    category = category_of(error)
    assert category == (Category.PRODUCT if status == "failed" else Category.TEST)
    assert filed_by_allure2(status, message) == [category]
    assert filed_by_allure3(category) == [category]


def test_a_failed_outcome_of_pytest_is_the_products() -> None:
    with pytest.raises(pytest.fail.Exception) as caught:
        pytest.fail("not what was promised")
    assert category_of(caught.value) is Category.PRODUCT


# Real runs of pytest, with allure-pytest: what ended each test, and everything else that its trace mentions.
SUITE = """
import pytest
from hil.errors import CloudError, DeviceOffline, FlashError, NetworkError, RigError, UsageError, WireError
from hil.observe import announce

class Sprinkler(RigError):
    "A team's own error."

def test_cloud_after_rig():
    try:
        raise RigError("cable")
    except RigError as error:
        raise CloudError("session", found=str(error)) from error

def test_rig_while_cloud():
    try:
        raise DeviceOffline("away")
    except CloudError:
        raise FlashError("dfu-util ended")

def test_product_while_network():
    try:
        raise NetworkError("nft")
    except NetworkError:
        assert "RigError: cable" == "CloudError: session"

def test_test_with_words():
    raise ValueError("hil.errors.WireError: RigError CloudError")

def test_rig_of_a_team():
    raise Sprinkler("dry")

@pytest.fixture
def misused():
    raise UsageError("no such marker")

def test_usage_in_setup(misused):
    pass

@pytest.fixture
def leaky():
    yield
    raise WireError("garbage")

def test_wire_in_teardown(leaky):
    pass

def test_product_before_teardown(leaky):
    with announce("argon-1", "water", 3):
        assert False

@pytest.mark.xfail(strict=True)
def test_product_unexpectedly_well():
    pass

@pytest.mark.xfail
def test_none_expected():
    raise RigError("known")

def test_none_skipped():
    pytest.skip("not today")

def test_none_passed():
    pass

@pytest.mark.board(count=99)
def test_none_there(board):
    "Asks for boards: without one, a run keeps no results."
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("filed")
    suite = root / "suites"
    suite.mkdir()
    (suite / "test_filed.py").write_text(SUITE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "suites"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "7 failed, 2 passed, 2 skipped, 1 xfailed, 3 errors" in done.stdout, done.stdout + done.stderr
    return root / "reports"


def results(run: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (run / "allure-results").glob("*-result.json")]


def test_a_result_says_under_which_category_it_is_filed(run: Path) -> None:
    found = {
        each["name"]: [label["value"] for label in each["labels"] if label["name"] == "category"]
        for each in results(run)
    }
    assert len(found) == 13
    for name, categories in found.items():
        wanted = name.split("_")[1].capitalize()
        assert categories == ([] if wanted == "None" else [wanted]), name


def test_the_rules_that_were_written_agree_with_the_labels(run: Path) -> None:
    """Allure 2 has only message and status to go by."""
    rules = json.loads((run / "allure-results" / "categories.json").read_text())
    for each in results(run):
        labels = [label["value"] for label in each["labels"] if label["name"] == "category"]
        message = each.get("statusDetails", {}).get("message", "")
        filed = [
            rule["name"]
            for rule in rules
            if each["status"] in rule["matchedStatuses"]
            and re.fullmatch(rule.get("messageRegex", "(?s).*"), message)
        ]
        assert filed == labels, each["name"]
    settings = json.loads((run / "allurerc.json").read_text())
    assert (settings["name"], settings["categories"]) == ("hil", allure3_rules())


def test_what_failed_has_its_timeline_whatever_fixtures_it_used(run: Path) -> None:
    found = {each["name"]: each.get("attachments", []) for each in results(run)}
    (attachment,) = found.pop("test_product_before_teardown")
    assert attachment["name"] == "timeline"
    text = (run / "allure-results" / attachment["source"]).read_text()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3}    0\.\d{3} s  argon-1 water\(3\): AssertionError: assert False\n", text
    )
    assert not any(found.values())


ALLURE = Path(__file__).parents[2] / "scripts" / "report" / "node_modules" / ".bin" / "allure"


@pytest.mark.skipif(not ALLURE.exists(), reason="the Allure command line is not installed (scripts/setup)")
def test_allure_itself_files_each_failed_test_once(run: Path, tmp_path: Path) -> None:
    html = tmp_path / "html"
    configuration = ["--config", str(run / "allurerc.mjs")]
    subprocess.run(
        [ALLURE, "awesome", run / "allure-results", *configuration, "--output", html],
        check=True,
        capture_output=True,
    )
    tree = json.loads((html / "widgets" / "categories.json").read_text())
    filed = {tree["nodes"][root]["name"]: tree["nodes"][root]["statistic"]["total"] for root in tree["roots"]}
    assert filed == {"Product": 3, "Rig": 2, "Cloud": 1, "Wire": 1, "Usage": 1, "Test": 1}
