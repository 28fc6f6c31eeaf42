"""What a page points to is there: other pages, headings, and files of this repository."""

import re

import pytest

from pages import HOW_TO, PAGES, ROOT, anchors, blocks, links, prose, spans

SOURCE = ROOT / "src" / "tokenworks"
ROOMS = {path.name for path in SOURCE.iterdir() if path.is_dir()}
PATH = re.compile(r"^[\w.-]+(?:/[\w.*-]+)+/?$")


def dead(page):
    """Return the links of a page that lead nowhere."""
    for link in links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or ROOT not in target.parents:
            yield f"{link}: no such file"
        elif anchor and anchor not in anchors(target):
            yield f"{link}: no such heading; there are {sorted(anchors(target))}"


def paths(page):
    """Return what a page calls by a path of this repository, in backticks and in commands."""
    said = {word for span in spans(prose(page)) for word in span.split()}
    said |= {
        word for block in blocks(page) for word in block.text.split() if word.startswith(("benchmarks/", "tests/"))
    }
    for word in sorted(said):
        head, tail = word.split("/", 1) if "/" in word else ("", "")
        if not PATH.match(word) or "NAME" in word or "NNNN" in word:
            continue
        if head in ("tests", "benchmarks", "docs", "deploy", "src"):
            yield word, ROOT / head, tail
        elif head in ROOMS and word.endswith((".py", "/")):
            yield word, SOURCE / head, tail


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    assert not list(dead(page))


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page):
    missing = [
        word for word, folder, tail in paths(page) if not (list(folder.glob(tail.rstrip("/"))) if tail else True)
    ]
    assert not missing


def test_every_page_can_be_reached_from_the_readme():
    left, reached = [ROOT / "README.md"], set()
    while left:
        page = left.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        left += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link]
    assert not [str(page.relative_to(ROOT)) for page in HOW_TO if page not in reached]


def test_the_checks_see_what_is_wrong(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n[no](gone.md) [nor](#gone)\n```\n[not](looked-at.md)\n```\n")
    found = list(dead(page))
    assert len(found) == 2
    assert anchors(page) == {"a-page"}
