"""What is wrong in a file that a person wrote: every mistake in words, with its line, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from hil.rig.tomllines import TomlLines

_WORDS = {
    "missing": "this key is missing",
    "string_type": "a text in quotes is expected",
    "int_type": "a whole number is expected",
    "float_type": "a number is expected",
    "bool_type": "true or false is expected",
    "tuple_type": "a list is expected",
    "dict_type": "a table is expected",
    "model_type": "a table is expected",
    "path_type": "a path in quotes is expected",
    "too_short": "at least one is needed",
}


class Table(BaseModel):
    """A table of such a file: it has the keys that it has, and no others.

    ``gone`` are keys that it once had, each with what to do instead.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    gone: ClassVar[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Mistake:
    """``where`` are keys and positions from 0, as pydantic has them."""

    where: tuple[int | str, ...]
    what: str


def mistakes_of(error: ValidationError, model: type[Table]) -> list[Mistake]:
    """The mistakes that pydantic found against ``model``."""
    # A list none of whose members is right counts as too short: that is not another mistake.
    details = [each for each in error.errors() if each["type"] != "too_short" or not each["input"]]
    return [_mistake(detail, model) for detail in details]


def report(path: Path, lines: TomlLines, mistakes: Iterable[Mistake]) -> str:
    """One line for each mistake: ``rigs/my.toml:12: slots[1].platform: ...``, in the order of the file."""
    placed = [(lines.line(each.where) or 0, each) for each in mistakes]
    placed.sort(key=lambda pair: pair[0])
    texts = []
    for line, each in placed:
        at = f"{path}:{line}" if line else f"{path}"
        text = f"{at}: {': '.join(filter(None, (place(each.where), each.what)))}"
        if text not in texts:
            texts.append(text)
    return "".join(f"\n    {text}" for text in texts)


def place(where: Sequence[int | str]) -> str:
    """``("slots", 1, "port")`` as people count: ``slots[2].port``."""
    text = ""
    for part in where:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def suggest(word: str, known: Iterable[str]) -> str:
    """``, did you mean 'argon'?`` or nothing."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f", did you mean {close[0]!r}?" if close else ""


def _mistake(detail: ErrorDetails, model: type[Table]) -> Mistake:
    where, kind = detail["loc"], detail["type"]
    if where[-1:] == ("[key]",):  # pydantic's word for a mistake in the key itself
        where = where[:-1]
    if kind == "extra_forbidden":
        key = str(where[-1])
        table = _table_at(model, where[:-1])
        gone = table.gone.get(key)
        known = list(table.model_fields)
        what = f"no such key{suggest(key, known)}; known: {', '.join(known)}"
        return Mistake(where, f"no such key any more; {gone}" if gone else what)
    if kind in ("literal_error", "union_tag_invalid"):
        context = detail.get("ctx", {})
        expected = str(context.get("expected", context.get("expected_tags", "")))
        value = detail["input"]
        found = value.get("kind") if isinstance(value, dict) else value
        known = [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]
        return Mistake(where, f"one of {', '.join(known)} is expected{suggest(str(found), known)}")
    return Mistake(where, _WORDS.get(kind, detail["msg"].removeprefix("Value error, ")))


def _table_at(model: type[Table], where: Sequence[int | str]) -> type[Table]:
    """The model of the table at ``where``; positions and names of alternatives are steps within one field."""
    table = model
    choices: list[type[Table]] = []
    for part in where:
        if isinstance(part, int):
            continue
        field = table.model_fields.get(part)
        if field is not None:
            choices = list(_models(field.annotation))
            table = choices[0] if choices else table
        else:
            named = (one for one in choices if _kind(one) == part)
            table = next(named, table)
    return table


def _models(annotation: Any) -> Iterable[type[Table]]:
    """Every model that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, tuple, list, dict) or hasattr(
        annotation, "__metadata__"
    ):
        for part in get_args(annotation):
            yield from _models(part)


def _kind(model: type[Table]) -> Any:
    field = model.model_fields.get("kind")
    return get_args(field.annotation)[0] if field is not None else None
