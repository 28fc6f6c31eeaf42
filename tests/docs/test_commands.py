"""Every command that a page or a message shows is one that the command line has, with options that it knows."""

import pytest

from pages import HOW_TO, ROOT
from shown_commands import fault, in_source, on_page

SOURCES = sorted((ROOT / "src" / "tokenworks").rglob("*.py"))


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_is_understood(page):
    assert not [f"{where}: {' '.join(said)}: {wrong}" for where, said in on_page(page) if (wrong := fault(said))]


def test_every_command_that_a_message_names_is_understood():
    shown = [told for file in SOURCES for told in in_source(file)]
    assert len(shown) > 80
    assert not [f"{where}: {' '.join(said)}: {wrong}" for where, said in shown if (wrong := fault(said))]


def test_commands_are_found_and_judged():
    assert sum(1 for page in HOW_TO for _ in on_page(page)) > 100
    assert fault(["up", "--once"]) == fault(["--home", "turn", "turn", "route"]) == fault(["turn", "show|list"]) == ""
    assert fault(["up", "--twice"]).startswith("--twice is no option")
    assert fault(["release", "shw", "route"]).startswith("there is no command shw")
