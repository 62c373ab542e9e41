"""Every fact that the code cites can be read in this clone: the sheet is in ``docs/reference`` and has the section.

A citation is a sheet's name, "fact sheet", and section numbers; it may wrap over lines and comments, and hold lists and
ranges. Without a name it means the sheet named last above it in the same file, else the protocol sheet; on a sheet it
means that sheet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
FOLDERS = ("hil", "firmware", "suites", "tests", "benchmarks", "rigs", "scripts", "docs")
SHEETS = {
    "protocol": "protocol.md",
    "usb": "usb.md",
    "cloud api": "cloud-api.md",
    "virtual rack": "virtual-rack.md",
    "rootless": "rootless.md",
    "real kernel": "real-kernel.md",
    "field": "field.md",
}
AT_LEAST = 200  # citations there are; fewer found means that the walk is broken, not that the code cites less

_NUMBER = r"\d+[a-z]?(?:\.\d+)*"
_ASIDE = r"(?:\s*\([^()]*\)|\s+for\s[\w\s]+)?"  # "3.3 (validity bits), 5" and "3.3 for both forms, 11.3"
_LINK = r"(?:,?\s+and\s+|,\s+|\s+to\s+)(?:sections?\s+)?"
_LIST = rf"{_NUMBER}(?:{_ASIDE}{_LINK}{_NUMBER}\b)*"
_NAMES = "|".join(name.replace(" ", r"\s+") for name in SHEETS)
_CITATION = re.compile(
    rf"RFC\s+\d+,?\s+sections?\s+{_LIST}"  # not ours
    rf"|(?:\bsections?\s+(?P<before>{_LIST})\s+of\s+(?:the\s+)?)?"
    rf"(?:\b(?P<name>{_NAMES})\s+)?\b(?P<sheet>fact\s+sheet)\b(?:,?\s+(?:sections?\s+)?(?:\()?(?P<after>{_LIST}))?"
    rf"|worked\s+examples?\s+(?P<example>{_LIST})"
    rf"|\bsections?\s+(?P<plain>{_LIST})",
    re.IGNORECASE,
)
_HEADING = re.compile(rf"^#{{2,4}}\s+(?P<number>{_NUMBER})\.?\s+(?P<title>\S.*)$", re.MULTILINE)
_LEADER = re.compile(r"^[ \t]*(?:#+|//+|\*+|>+|--+)", re.MULTILINE)  # of a comment's line


@dataclass(frozen=True)
class Citation:
    place: str  # file:line
    text: str
    sheet: str
    sections: tuple[str, ...]


def _expanded(listed: str) -> Iterator[str]:
    """``"4.1 to 4.3, 5"`` as 4.1, 4.2, 4.3, 5; what stands in parentheses is no number of a section."""
    last = ""
    for match in re.finditer(rf"(?P<to>\bto\s+)?(?P<number>{_NUMBER})", re.sub(_ASIDE, "", listed)):
        number = match["number"]
        parent, _, low = last.rpartition(".")
        if match["to"] and number.startswith(parent + "."):
            yield from (f"{parent}.{n}" for n in range(int(low) + 1, int(number.rpartition(".")[2])))
        yield number
        last = number


def citations_in(text: str, place: str, own: str | None = None) -> Iterator[Citation]:
    """The citations of a file; ``own`` is the name of the sheet that the file is, if it is one."""
    text = _LEADER.sub(lambda match: " " * len(match[0]), text)
    last = "protocol"
    for match in _CITATION.finditer(text):
        named = " ".join((match["name"] or "").lower().split())
        last = named or last
        listed = [match[group] for group in ("before", "after", "example", "plain") if match[group]]
        if listed or match["sheet"]:
            yield Citation(
                f"{place}:{text.count(chr(10), 0, match.start()) + 1}",
                " ".join(match[0].split()),
                "protocol" if match["example"] else named or own or last,
                tuple(chain.from_iterable(_expanded(part) for part in listed)),
            )


@lru_cache
def headings(sheet: Path) -> dict[str, tuple[int, str]]:
    """Section number -> line and body of each numbered section; a section's body ends at the next heading."""
    text = sheet.read_text()
    found = list(_HEADING.finditer(text))
    ends = [match.start() for match in re.finditer(r"^#{1,4}\s", text, re.MULTILINE)] + [len(text)]
    return {
        match["number"].lower(): (
            text.count("\n", 0, match.start()) + 1,
            text[match.end() : next(end for end in ends if end > match.start())],
        )
        for match in found
    }


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the project's own folders but this one, whose citations are examples."""
    for path in chain.from_iterable(sorted((ROOT / folder).rglob("*")) for folder in FOLDERS):
        foreign = {"node_modules", "__pycache__"} & set(path.parts)
        if path.is_file() and not foreign and path != Path(__file__).resolve():
            try:
                yield path, path.read_text()
            except UnicodeDecodeError:
                continue  # an image


def missing(citation: Citation) -> Iterator[str]:
    """What a reader who follows ``citation`` does not find."""
    path = REFERENCE / SHEETS[citation.sheet]
    where = f'{citation.place}: "{citation.text}"'
    if not path.exists():
        yield f"{where}: there is no {path.relative_to(ROOT)}"
        return
    for section in citation.sections:
        if section.lower() not in headings(path):
            yield f"{where}: {path.relative_to(ROOT)} has no section {section}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("USB fact sheet 4.1 to 4.3 and 9.4", [("usb", "4.1 4.2 4.3 9.4")]),
        ("(protocol fact sheet 2.4: 64 records)", [("protocol", "2.4")]),
        (
            "# Protocol fact\n    # sheet 3.3 (bits, 8 in all), 5\n    # and 11.3",
            [("protocol", "3.3 5 11.3")],
        ),
        ("rootless fact sheet, sections 3\n// and 4", [("rootless", "3 4")]),
        (
            "cloud API fact sheet 6 (lengths), protocol fact sheet 3.8",
            [("cloud api", "6"), ("protocol", "3.8")],
        ),
        (
            "USB fact sheet 1.1. What its section 5.1 says, fact sheet 2",
            [("usb", n) for n in ("1.1", "5.1", "2")],
        ),
        ("section 11 of the protocol fact sheet", [("protocol", "11")]),
        (
            "field fact sheet 5c; RFC 7252 sections 3 and 5.10; worked example 8.7",
            [("field", "5c"), ("protocol", "8.7")],
        ),
    ],
)
def test_how_citations_are_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(each.sheet, " ".join(each.sections)) for each in citations_in(text, "file")] == expected


def test_every_citation_can_be_followed() -> None:
    names = {REFERENCE / sheet: name for name, sheet in SHEETS.items()}
    citations = [
        citation
        for path, text in texts()
        for citation in citations_in(text, str(path.relative_to(ROOT)), names.get(path))
    ]
    outside = [each for each in citations if each.sections and not each.place.startswith("docs/reference/")]
    assert len(outside) >= AT_LEAST, f"only {len(outside)} citations found in {', '.join(FOLDERS)}"
    broken = [what for citation in citations for what in missing(citation)]
    assert not broken, "\n".join(broken)


def test_the_introduction_page_can_be_followed() -> None:
    citing = [path for path, text in texts() if re.search(r"introduction\s+page", text, re.IGNORECASE)]
    assert any(REFERENCE not in path.parents for path in citing), "nothing cites the introduction page"
    assert (REFERENCE / "introduction.md").exists(), (
        f"{citing[0].relative_to(ROOT)} cites the introduction page"
    )


@pytest.mark.parametrize("sheet", sorted(SHEETS.values()))
def test_every_section_has_facts_and_their_sources(sheet: str) -> None:
    path = REFERENCE / sheet
    sections = headings(path)
    assert sections, f"{sheet} has no numbered section"
    wrong = []
    for number, (line, body) in sections.items():
        lines = [each for each in body.splitlines() if each.strip()]
        sources = [each for each in lines if re.match(r"Sources: \S", each)]
        if len(sources) != 1 or len(lines) < 2:
            what = "no facts" if sources else 'no line "Sources: ..."'
            wrong.append(f"docs/reference/{sheet}:{line}: section {number} has {what}")
    assert not wrong, "\n".join(wrong)
