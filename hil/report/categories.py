"""Under which category a report files a failed test: decided once, by the type of the exception that ended it.

Nothing is kept by hand: the categories are those of the error tree (``hil.errors``), and a class below one of its
branches, also one of a team's own, is filed with its branch. Allure 3 reads the decision from the result's label
``category``. Allure 2 knows no labels there, only regular expressions for a result's message; that begins with the
full name of the exception's type, so its rules are made of the names of all types of the tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from hil.errors import Category, HilError

LABEL = "category"
Rule = dict[str, object]


def category_of(error: BaseException | None) -> Category:
    """The category of a test that ended with ``error``; ``None``: it passed though it was expected to fail."""
    if isinstance(error, HilError):
        return error.category
    if error is None or isinstance(error, AssertionError | pytest.fail.Exception):
        return Category.PRODUCT
    return Category.TEST


def error_types(root: type[HilError] = HilError) -> Iterator[type[HilError]]:
    """``root`` and every class below it that is loaded: none can have been raised without."""
    yield root
    for kind in root.__subclasses__():
        yield from error_types(kind)


def allure3_rules() -> list[Rule]:
    """``categories`` of an Allure 3 configuration file."""
    return [{"name": str(each), "matchers": {"labels": {LABEL: f"^{each}$"}}} for each in Category]


def allure2_rules() -> list[Rule]:
    """The content of Allure 2's ``categories.json``; there a pattern has to match the whole message."""
    names: dict[Category, list[str]] = {each: [] for each in Category}
    for kind in error_types():
        names[kind.category].append(re.escape(f"{kind.__module__}.{kind.__qualname__}"))
    of_the_tree = _begins_with([name for each in names.values() for name in each])
    rules: list[Rule] = [{"name": str(Category.PRODUCT), "matchedStatuses": ["failed"]}]
    rules += [
        {"name": str(category), "matchedStatuses": ["broken"], "messageRegex": f"(?s){_begins_with(each)}.*"}
        for category, each in names.items()
        if each
    ]
    other = {"matchedStatuses": ["broken"], "messageRegex": f"(?s)(?!{of_the_tree}).*"}
    return [*rules, {"name": str(Category.TEST), **other}]


def _begins_with(names: list[str]) -> str:
    return f"(?:{'|'.join(sorted(set(names)))}):"
