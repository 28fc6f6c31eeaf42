"""What the README says works is shown by files that are there; its figures are those of benchmarks/results."""

import re

import msgspec

from pages import ROOT, spans
from tokenworks.core.task import Task

README = (ROOT / "README.md").read_text()
RESULTS = [*sorted((ROOT / "benchmarks" / "results").glob("*.*")), ROOT / "docs" / "chaos.md"]
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


def test_every_large_figure_of_the_readme_stands_in_a_result():
    """Of four digits and more, what is rounded to fewer can be right by chance; long runs of kills stand on a page."""
    results = "".join(path.read_text().replace(",", "") for path in RESULTS)
    table = [line for line in README.split("## Measured")[1].splitlines() if line.startswith("| ")]
    figures = [figure.replace(",", "") for line in table for figure in re.findall(r"\d{1,3}(?:,\d{3})+", line)]
    assert len(figures) > 12
    assert not [figure for figure in figures if not re.search(rf"(?<!\d){figure}(?!\d)", results)]


def test_every_key_of_a_task_is_explained():
    told = (ROOT / "docs" / "tasks.md").read_text()
    sections = {field.name: field.type for field in msgspec.structs.fields(Task)}
    keys = {
        field.name
        for kind in sections.values()
        if hasattr(kind, "__struct_fields__")
        for field in msgspec.structs.fields(kind)
    }
    assert {f"[{name}]" for name in sections if name != "folder"} <= set(spans(told))
    assert not {key for key in keys if f"`{key}`" not in told}


def test_the_floor_plan_names_every_room():
    rooms = {path.stem for path in (ROOT / "src" / "tokenworks").iterdir() if not path.name.startswith(("_", "py."))}
    floors = (ROOT / "ARCHITECTURE.md").read_text().split("## Floors")[1].split("\n## ")[0]
    assert rooms == {
        span for line in floors.splitlines() if line.startswith("| `") for span in spans(line.split("|")[1])
    }
