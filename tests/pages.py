"""The pages that people read, taken apart: what the tests of documentation share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = sorted([*(ROOT / name for name in HEADS), *(ROOT / "docs").rglob("*.md")])
HOW_TO = [page for page in PAGES if page.parent.name not in ("decisions", "reference") and page.name != "CHANGELOG.md"]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line of its fence, what the fence says of it, and the lines within."""

    page: Path
    line: int
    kind: str  # "toml", "toml task", "python", "console", ""
    text: str

    @property
    def where(self) -> str:
        """The place, as a person looks for it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```") and opened is None:
            opened, lines = (number, line[3:].strip()), []
        elif line.startswith("```") and opened is not None:
            yield Block(page, *opened, "\n".join(lines))
            opened = None
        elif opened is not None:
            lines.append(line)
    assert opened is None, f"{page}:{opened[0]}: this fence is never closed"


def prose(page: Path) -> str:
    """Return the page with its fenced blocks emptied."""
    kept, inside = [], False
    for line in page.read_text().splitlines():
        inside ^= line.startswith("```")
        kept.append("" if inside or line.startswith("```") else line)
    return "\n".join(kept)


def spans(text: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def links(page: Path) -> list[str]:
    """Return the targets of the page's links, in order."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the page's headings."""
    found: dict[str, int] = {}
    for heading in re.findall(r"(?m)^#+ +(.*?) *$", prose(page)):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found[name] = found.get(name, 0) + 1
    return {name if not nth else f"{name}-{nth}" for name, times in found.items() for nth in range(times)}
