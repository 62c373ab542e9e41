"""Lines of keys in TOML: the same keys that ``tomllib`` finds, where they are written."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hil.rig.tomllines import TomlLines

TEXT = '''\
# a comment = 1
title = "a # [no] comment"
long = """
[not.a.table]
quote \\""" here""""
literal = \'\'\'
x = 1\'\'\'
"quoted \\U0001F600 key".'dotted.key' = { a = 1, "b" = [ 2,
  { c = 3 },
] }
when = 1979-05-27 07:32:00

[owner.name] # trailing
a.b.c = 'it''s'

[[slots]]
port = "1-1"
[slots.power]
on = ["a", "b"]

[[slots]]
[[slots.parts]]
x = 1
[[slots.parts]]
y = 2
'''.replace("'it''s'", "'it#s'")


def paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """All paths of a parsed document."""
    found = {path} if path else set()
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        found |= paths(child, (*path, key))
    return found


def test_every_key_that_the_parser_finds_has_its_line() -> None:
    lines = TomlLines(TEXT)
    assert set(lines.lines) == paths(tomllib.loads(TEXT))
    at = TEXT.splitlines()
    for path, text in {
        ("long",): "long =",
        ("literal",): "literal =",
        ("quoted \U0001f600 key", "dotted.key", "b", 1, "c"): "  { c = 3 }",
        ("when",): "when =",
        ("owner", "name"): "[owner.name]",
        ("owner", "name", "a", "b", "c"): "a.b.c",
        ("slots", 0, "power", "on", 1): "on = ",
        ("slots", 1, "parts", 1, "y"): "y = 2",
    }.items():
        assert at[lines.lines[path] - 1].startswith(text), path


def test_the_innermost_place_that_exists_is_taken_and_steps_that_are_no_keys_are_passed_over() -> None:
    lines = TomlLines('a = 1\n[[slots]]\n\n[slots.power]\nkind = "uhubctl"\n')
    assert lines.line(("slots", 0, "name")) == 2
    assert lines.line(("slots", 0, "power", "uhubctl", "kind")) == 5
    assert lines.line(("nothing", "here")) is None
    assert TomlLines("\n\n[tool.hil]\nrig = 1\n").below("tool", "hil").line(("rig",)) == 4
    assert TomlLines("[tool.hil]\n").below("tool", "hil").line(("rig",)) == 1


_NAMES = st.text(st.sampled_from("ab.\" '\\é#="), min_size=1, max_size=4)
_LEAVES = st.one_of(st.integers(), st.booleans(), st.text(st.sampled_from("ab\"'\\#[]{}=\n,é"), max_size=8))
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=3)),
    max_leaves=8,
)


def quoted(text: str) -> str:
    special = {'"': '\\"', "\\": "\\\\", "\n": "\\n"}
    return '"' + "".join(special.get(each, each) for each in text) + '"'


def inline(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[" + ",\n  ".join(inline(each) for each in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {inline(each)}" for key, each in value.items()) + "}"
    return str(value)


@given(
    st.dictionaries(_NAMES, _VALUES, max_size=4),
    st.lists(st.dictionaries(_NAMES, _VALUES, max_size=2), max_size=3),
)
def test_any_document_has_the_paths_that_the_parser_finds(
    plain: dict[str, Any], tables: list[dict[str, Any]]
) -> None:
    text = "".join(f"{quoted(key)} = {inline(value)}  # {key!r}\n" for key, value in plain.items())
    for table in tables:
        text += "[[ list-of-tables ]]\n"
        text += "".join(f"{quoted(key)} = {inline(value)}\n" for key, value in table.items())
    assert set(TomlLines(text).lines) == paths(tomllib.loads(text))
