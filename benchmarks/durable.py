"""Durable stages: DBOS beside the line's own memoised stages, on the same toy line, with a real kill -9.

Run `python benchmarks/durable.py`; it writes `results/durable.json` and `results/durable.md`. Decision 0080 reads it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
RESULTS = HERE / "results"
WAYS = ("memo", "dbos", "dbos pinned")
STEPS = 6
RIGHT = sum(range(1, STEPS + 1))
Edit = tuple[str, str]
# What a developer changes in the copied toy between kill and restart. The runner's author must also raise a version.
LATER: dict[str, list[Edit]] = {
    "memo": [("def main", 'ADDS[5], VERSIONS[5] = 50, "2"\n\n\ndef main')],
    "dbos": [("HOME = ", "ADDS[5] = 50\nHOME = ")],
}
FINISHED: dict[str, list[Edit]] = {
    "memo": [("def main", 'ADDS[2], VERSIONS[2] = 20, "2"\n\n\ndef main')],
    "dbos": [("HOME = ", "ADDS[2] = 20\nHOME = ")],
}
FORGOTTEN: dict[str, list[Edit]] = {
    "memo": [("def main", "ADDS[2] = 20\n\n\ndef main")],
    "dbos": FINISHED["dbos"],
}
INSERTED: dict[str, list[Edit]] = {
    "memo": [("def main", "ORDER.insert(1, 100)\n\n\ndef main")],
    "dbos": [("    value = 0\n", "    value = 0\n    ORDER.insert(1, 100)\n")],
}
CASES: dict[str, tuple[str, dict[str, list[Edit]], int]] = {
    "restart": ("nothing is edited", {"memo": [], "dbos": []}, RIGHT),
    "edit later step": ("step 5 adds 50", LATER, RIGHT + 45),
    "edit finished step": ("step 2 adds 20", FINISHED, RIGHT + 18),
    "the same, version not raised": ("step 2 adds 20 and the developer forgets its version", FORGOTTEN, RIGHT + 18),
    "insert a step": ("a step that adds 100 between 1 and 2", INSERTED, RIGHT + 100),
}


@dataclass(frozen=True)
class Ran:
    """One process of a toy line."""

    status: int
    executed: list[int]
    result: int | str | None = None
    ready_s: float = 0.0
    ms_per_step: float = 0.0
    resident_mb: float = 0.0


@dataclass
class Toy:
    """A copy of a toy line in a folder of its own, which can be edited between runs."""

    way: str
    folder: Path
    workflow: str = "w1"
    _seen: int = 0

    @property
    def kind(self) -> str:
        """Which toy: memo or dbos."""
        return self.way.split()[0]

    @property
    def program(self) -> Path:
        """The copied source."""
        return self.folder / "toy.py"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.program.write_text((HERE / f"_durable_{self.kind}.py").read_text())

    def edit(self, edits: Sequence[Edit]) -> None:
        """Change the source as a developer would."""
        text = self.program.read_text()
        for old, new in edits:
            assert text.count(old) == 1, f"{old!r} must stand once in {self.program}"
            text = text.replace(old, new)
        self.program.write_text(text)

    def run(self, *, steps: int = STEPS) -> Ran:
        """Start the toy, wait for its end, and say which steps it worked on."""
        command = [sys.executable, str(self.program), str(self.folder), str(time.time()), str(steps)]
        if self.kind == "dbos":
            command += ["pinned" if self.way.endswith("pinned") else "", self.workflow]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        log = (self.folder / "log").read_text().split() if (self.folder / "log").exists() else []
        executed, self._seen = [int(step) for step in log[self._seen :]], len(log)
        if done.returncode:
            return Ran(done.returncode, executed, done.stderr.strip().splitlines()[-1] if done.stderr else None)
        return Ran(0, executed, **json.loads(done.stdout.splitlines()[-1]))


@dataclass
class Figures:
    """What was measured of one way."""

    ready_s: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    ms_per_step: list[float] = field(default_factory=list)
    after_kill: dict[str, dict[str, object]] = field(default_factory=dict)
    again: dict[str, object] = field(default_factory=dict)


def main() -> None:
    """Measure, and write the results."""
    found = {way: Figures() for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folders = _numbered(Path(name))
        for _ in range(5):  # interleaved, so that a busy minute hits all
            for way in WAYS:
                _speed(found[way], way, folders)
        for way in WAYS:
            _after_kill(found[way], way, folders)
            _again(found[way], way, folders)
    result = {
        "machine": machine() | {"dbos": distribution("dbos").version},
        "ways": {way: asdict(figures) for way, figures in found.items()},
        "added by dbos": footprint("dbos", beside="tokenworks"),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "durable.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "durable.md").write_text(_markdown(result))
    print(_markdown(result))


def _numbered(root: Path) -> Callable[[], Path]:
    numbers = iter(range(10_000))
    return lambda: root / f"{next(numbers):04d}"


def _speed(figures: Figures, way: str, folders: Callable[[], Path]) -> None:
    small = Toy(way, folders()).run()
    assert small.result == RIGHT, small
    figures.ready_s.append(small.ready_s)
    figures.resident_mb.append(small.resident_mb)
    figures.ms_per_step.append(Toy(way, folders()).run(steps=200).ms_per_step)


def _after_kill(figures: Figures, way: str, folders: Callable[[], Path]) -> None:
    for case, (_, edits, right) in CASES.items():
        toy = Toy(way, folders())
        (toy.folder / "fault").touch()
        killed = toy.run()
        assert killed.status == -9, killed
        toy.edit(edits[toy.kind])
        after = toy.run()
        figures.after_kill[case] = {
            "executed": after.executed,
            "result": after.result,
            "right": after.result == right,
        }


def _again(figures: Figures, way: str, folders: Callable[[], Path]) -> None:
    """A second run that wants the same: a new workflow, as after `up` on the next day."""
    toy = Toy(way, folders())
    toy.run()
    toy.workflow = "w2"
    figures.again["same"] = toy.run().executed
    toy.edit(LATER[toy.kind])
    toy.workflow = "w3"
    figures.again["step 5 changed"] = toy.run().executed


def footprint(name: str, *, beside: str) -> dict[str, object]:
    """Return the distributions that `name` brings in addition to `beside`, and their size on disk."""
    more = sorted(_closure(name) - _closure(beside))
    sizes = {each: _bytes(distribution(each)) / 1e6 for each in more}
    return {
        "distributions": {each: round(size, 1) for each, size in sizes.items()},
        "mb": round(sum(sizes.values()), 1),
    }


def _closure(name: str) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        each = waiting.pop().lower().replace("_", "-")
        if each in seen:
            continue
        try:
            needs = distribution(each).requires or []
        except PackageNotFoundError:
            continue
        seen.add(each)
        requirements = [Requirement(need) for need in needs]
        waiting += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return seen


def _bytes(found: Distribution) -> int:
    return sum(path.stat().st_size for each in found.files or [] if (path := Path(str(each.locate()))).is_file())


def machine() -> dict[str, object]:
    """Return what figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def _markdown(result: dict) -> str:
    ways, about, added = result["ways"], result["machine"], result["added by dbos"]
    rows = [
        ("ready after, s", lambda f: spread(f["ready_s"], 2)),
        ("resident at the end, MB", lambda f: spread(f["resident_mb"], 0)),
        ("per step over 200 steps, ms", lambda f: spread(f["ms_per_step"], 1)),
        *((f"killed in step 3, then {case}", lambda f, case=case: _told(f["after_kill"][case])) for case in CASES),
        ("the same line again", lambda f: _listed(f["again"]["same"])),
        ("again with step 5 changed", lambda f: _listed(f["again"]["step 5 changed"])),
    ]
    lines = [
        "# Durable stages: memoised stages beside DBOS",
        "",
        f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, DBOS {about['dbos']} on SQLite, "
        f"load {about['load']:.1f}. Six steps, a real `kill -9` in the third; median (min - max) of 5, interleaved.",
        "",
        f"| | {' | '.join(WAYS)} |",
        f"| --- |{' --- |' * len(WAYS)}",
        *(f"| {name} | {' | '.join(show(ways[way]) for way in WAYS)} |" for name, show in rows),
        "",
        f"DBOS adds to the core install: {', '.join(f'{n} {s} MB' for n, s in added['distributions'].items())}; "
        f"{added['mb']} MB in all.",
        "",
    ]
    return "\n".join(lines)


def spread(values: list[float], digits: int) -> str:
    """Return median (min - max)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def _told(after: dict) -> str:
    if isinstance(after["result"], str):
        return f"{_listed(after['executed'])}, stops ({after['result']})"
    return f"{_listed(after['executed'])}, {'right' if after['right'] else 'WRONG, without a word'}"


def _listed(steps: list[int]) -> str:
    return f"works on {' '.join(map(str, steps))}" if steps else "works on nothing"


if __name__ == "__main__":
    main()
