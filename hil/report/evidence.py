"""Evidence for the people who read the report: what each source saw during one test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Producer = Callable[[], bytes | str]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One attachment: ``name`` as readers see it, ``extension`` of the file."""

    name: str
    extension: str
    content: bytes


@dataclass(slots=True)
class Evidence:
    """Sources of evidence of one test; asked only when the test failed (or when told to keep everything)."""

    sources: list[tuple[str, str, Producer]] = field(default_factory=list)

    def add(self, name: str, extension: str, producer: Producer) -> None:
        """Ask ``producer`` for the content of attachment ``name`` when the test ends."""
        self.sources.append((name, extension, producer))

    def collect(self) -> list[Exhibit]:
        """All exhibits. A source that fails gives its error as content: it never hides a test's outcome."""
        exhibits = []
        for name, extension, producer in self.sources:
            try:
                content = producer()
            except Exception as error:
                exhibits.append(Exhibit(f"{name} (not available)", "txt", repr(error).encode()))
                continue
            data = content.encode("utf-8", "replace") if isinstance(content, str) else content
            exhibits.append(Exhibit(name, extension, data))
        return exhibits
