"""HTML to readable text: headings, lists, tables and code keep their shape; navigation and scripts go."""

from __future__ import annotations

import re
from typing import Any

from selectolax.lexbor import LexborHTMLParser

_DROPPED = frozenset("script style noscript template svg nav footer button select iframe head canvas dialog".split())  # noqa: SIM905
_BLOCKS = frozenset(
    "p div section article main header aside ul ol menu dl dt dd table thead tbody tfoot figure figcaption blockquote "  # noqa: SIM905
    "address fieldset form details summary hr body html caption center".split()
)
_PARAGRAPHS = ("p", "blockquote", "table", "dl", "figure", "ul", "ol")
_HEADINGS = {f"h{level}": "\n\n" + "#" * level + " " for level in range(1, 7)}
_SPACE = re.compile(r"[ \t\r\n\f\xa0]+")
_SPACES = re.compile(r" {2,}")
_MANY_LINES = re.compile(r"\n\s*\n\s*\n")
_LISTS = ("ul", "ol", "menu")
_CELLS = ("td", "th")


def to_text(html: str) -> tuple[str, str, str]:
    """Return title, text and the content of `<meta name="label">` of `html`."""
    tree = LexborHTMLParser(html)
    title_node = tree.css_first("title")
    label_node = tree.css_first('meta[name="label"]')
    title = _SPACE.sub(" ", title_node.text()).strip() if title_node else ""
    label = (label_node.attributes.get("content") or "") if label_node else ""
    root = tree.css_first("main") or tree.body
    return title, _tidy(_Page().render(root)) if root is not None else "", label


class _Page:
    """Writes down a tree as it is walked."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._literal = 0  # depth in <pre>, where white space counts
        self._cell = 0  # depth in table cells, which stay on the line of their row
        self._list = 0

    def render(self, root: Any) -> str:
        """Walk without recursion: a page nested ten thousand deep is only a long page."""
        node, entering = root, True
        while True:
            if entering and node.tag != "-text" and node.tag not in _DROPPED:
                self._enter(node.tag)
                if node.child is not None:
                    node = node.child
                    continue
                self._leave(node.tag)
            elif entering:
                self._text(node)
            else:
                self._leave(node.tag)
            if node.mem_id == root.mem_id:
                return "".join(self._out)
            following = node.next
            node, entering = (following, True) if following is not None else (node.parent, False)

    def _text(self, node: Any) -> None:
        if node.tag == "-text":
            raw = node.text_content or ""
            self._out.append(raw if self._literal else _SPACE.sub(" ", raw))

    def _enter(self, tag: str) -> None:
        self._list += tag in _LISTS
        if tag == "li":
            self._out.append(" - " if self._cell else "\n" + "\t" * (self._list - 1) + "- ")
        elif tag == "pre" and not self._cell:
            self._out.append("\n\n```\n")
            self._literal += 1
        elif tag in _HEADINGS and not self._cell:
            self._out.append(_HEADINGS[tag])
        elif tag in ("br", "tr"):
            self._out.append("\n" if not self._cell else " ")
        else:
            self._break(tag)
        self._cell += tag in _CELLS

    def _leave(self, tag: str) -> None:
        self._cell -= tag in _CELLS
        if tag in _CELLS:
            self._out.append(" | ")
        elif tag == "pre" and self._literal:
            self._out.append("\n```\n\n")
            self._literal -= 1
        elif tag in _HEADINGS and not self._cell:
            self._out.append("\n\n")
        else:
            self._break(tag)
        self._list -= tag in _LISTS

    def _break(self, tag: str) -> None:
        if tag not in _BLOCKS or (tag in _LISTS and self._list > 1):
            return
        self._out.append(" " if self._cell else "\n" if self._list else "\n\n" if tag in _PARAGRAPHS else "\n")


def _tidy(text: str) -> str:
    """Trim lines and runs of empty ones outside code blocks; the tabs of nested lists become spaces."""
    pieces = text.split("```")
    for index in range(0, len(pieces), 2):
        lines = [_line(line) for line in pieces[index].split("\n")]
        pieces[index] = _MANY_LINES.sub("\n\n", "\n".join(lines))
    return "```".join(pieces).strip()


def _line(line: str) -> str:
    stripped = line.lstrip(" \t")
    depth = line[: len(line) - len(stripped)].count("\t")
    words = _SPACES.sub(" ", stripped).rstrip()
    words = words[:-2].rstrip() if words.endswith(" |") else words
    return "" if words in ("-", "|", "") else "  " * depth + words
