from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.line.ingest.params import LabelRule, Source
from tokenworks.line.ingest.patterns import matches
from tokenworks.line.ingest.walk import Entry, walk


def listed(folder: Path, **fields: object) -> tuple[list[Entry], Counter[str]]:
    excluded: Counter[str] = Counter()
    return list(walk((Source(name="docs", path=str(folder), **fields),), excluded)), excluded


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a/test/b.py", "test", True),
        ("a/testing/b.py", "test", False),
        ("a/b.pyc", "*.pyc", True),
        ("hr/plan.md", "hr/**", True),
        ("hr/deep/er/plan.md", "hr/*", True),
        ("hr/plan.md", "hr/", True),
        ("other/hr/plan.md", "hr/**", False),
        ("docs/a/secret/x.md", "docs/*/secret", True),
        ("docs/a/open/x.md", "docs/*/secret", False),
    ],
)
def test_patterns_cover_folders_and_names(path, pattern, expected):
    assert matches(path, pattern) is expected


def test_files_come_in_one_order_and_links_are_never_followed(folder):
    for name in ("b.md", "a/z.md", "a/b/c.md", "c.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "a" / "up").symlink_to(folder)
    entries, _ = listed(folder)
    assert [entry.path for entry in entries] == ["a/b/c.md", "a/up", "a/z.md", "b.md", "c.md"]
    assert [entry.reason for entry in entries] == ["", "symlink", "", "", ""]


def test_sources_are_walked_in_the_order_of_their_names(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f.md").write_text("x")
    sources = (Source(name="b", path=str(tmp_path / "one")), Source(name="a", path=str(tmp_path / "two")))
    assert [entry.source for entry in walk(sources, Counter())] == ["a", "b"]


def test_includes_and_excludes_are_counted(folder):
    for name in ("a.md", "b.log", "node_modules/c.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    entries, excluded = listed(folder, include=("*.md",))
    assert [entry.path for entry in entries] == ["a.md"]
    assert excluded == {"not included": 1, "node_modules": 1}


def test_rules_give_labels_and_wrong_ones_are_named(folder):
    (folder / "hr").mkdir()
    (folder / "hr" / "a.md").write_text("x")
    entries, _ = listed(folder, rules=(LabelRule(glob="hr", label="restricted"),))
    assert [str(label) for label in entries[0].labels] == ["restricted"]
    with pytest.raises(ConfigError, match="topsecret"):
        listed(folder, rules=(LabelRule(glob="*", label="topsecret"),))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_closed_folder_is_set_aside(folder):
    (folder / "closed").mkdir(mode=0)
    entries, _ = listed(folder)
    assert [(entry.path, entry.reason) for entry in entries] == [("closed", "unreadable")]


def test_a_tree_three_hundred_folders_deep_is_walked(folder):
    deep = folder
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "leaf.md").write_text("x")
    entries, _ = listed(folder)
    assert entries[0].path.endswith("/leaf.md")
