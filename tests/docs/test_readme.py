"""What the README says works is shown by files that are there; its figures are those of benchmarks/results."""

from pages import ROOT, spans

README = (ROOT / "README.md").read_text()
WORKS = README.split("## What works")[1].split("\n## ")[0]


def rows():
    """Return (capability, state, shown by) for each row of the table."""
    lines = [line for line in WORKS.splitlines() if line.startswith("| ") and not line.startswith("| capability")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_capability_is_shown_by_tests_that_are_there():
    assert len(rows()) > 40
    for capability, state, *shown in rows():
        named = spans(" ".join(shown))
        assert named or state.startswith("not here"), f"{capability}: nothing shows it"
        missing = [name for name in named if not (ROOT / name).exists()]
        assert not missing, f"{capability}: {missing}"


def test_a_folder_that_shows_something_has_tests():
    for name in {name for *_, shown in rows() for name in spans(shown) if name.endswith("/")}:
        assert list((ROOT / name).rglob("test_*.py")), name
