"""HTML to readable text: headings, lists, tables and code keep their shape; navigation and scripts go."""

from __future__ import annotations

import re
from typing import Any

from selectolax.lexbor import LexborHTMLParser

_DROPPED = frozenset("script style noscript template svg nav footer button select iframe head canvas dialog".split())  # noqa: SIM905
_BLOCKS = frozenset(
    "p div section article main header aside ul ol dl dt dd table thead tbody tfoot figure figcaption blockquote "  # noqa: SIM905
    "address fieldset form details summary hr body html caption center".split()
)
_HEADINGS = {f"h{level}": "\n\n" + "#" * level + " " for level in range(1, 7)}
_SPACE = re.compile(r"[ \t\r\n\f\xa0]+")
_MANY_LINES = re.compile(r"\n[ \t]*\n[\s]*\n")
_OPEN = {"li": "\n- ", "br": "\n", "tr": "\n", "pre": "\n\n```\n", **_HEADINGS}
_CLOSE = {"td": " | ", "th": " | ", "pre": "\n```\n\n", **dict.fromkeys(_HEADINGS, "\n\n")}


def to_text(html: str) -> tuple[str, str, str]:
    """Return title, text and the content of `<meta name="label">` of `html`."""
    tree = LexborHTMLParser(html)
    title_node = tree.css_first("title")
    label_node = tree.css_first('meta[name="label"]')
    title = _SPACE.sub(" ", title_node.text()).strip() if title_node else ""
    label = (label_node.attributes.get("content") or "") if label_node else ""
    root = tree.css_first("main") or tree.body
    return title, _tidy(_render(root)) if root is not None else "", label


def _render(root: Any) -> str:
    """Walk the tree without recursion: a page nested ten thousand deep is only a long page."""
    out: list[str] = []
    literal = 0  # inside <pre>, where white space counts
    node, entering = root, True
    while node is not None:
        tag = node.tag
        if entering:
            if tag == "-text":
                raw = node.text_content or ""
                out.append(raw if literal else _SPACE.sub(" ", raw))
            elif tag not in _DROPPED:
                out.append(_OPEN.get(tag, "\n" if tag in _BLOCKS else ""))
                literal += tag == "pre"
                if node.child is not None:
                    node = node.child
                    continue
                entering = False
                continue
        elif tag != "-text" and tag not in _DROPPED:
            out.append(_CLOSE.get(tag, "\n" if tag in _BLOCKS else ""))
            literal -= tag == "pre"
        if node.mem_id == root.mem_id:
            break
        following = node.next
        node, entering = (following, True) if following is not None else (node.parent, False)
    return "".join(out)


def _tidy(text: str) -> str:
    """Trim lines and runs of empty ones outside code blocks."""
    pieces = text.split("```")
    for index in range(0, len(pieces), 2):
        lines = [re.sub(r" {2,}", " ", line).strip() for line in pieces[index].split("\n")]
        lines = [line[:-2].rstrip() if line.endswith(" |") else line for line in lines if line not in ("-", "|")]
        pieces[index] = _MANY_LINES.sub("\n\n", "\n".join(lines))
    return "```".join(pieces).strip()
