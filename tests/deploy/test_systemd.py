"""The systemd unit: what it starts exists, systemd takes it, and it gives the service no more than it needs."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.testing

from tokenworks.cli.main import app

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "tokenworks.service"
PROGRAM = "/opt/tokenworks/.venv/bin/tokenworks"
MOST_EXPOSED = 1.5  # of 10, by systemd's own measure


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    """Return what systemd-analyze says; skip where there is none."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


def service(text: str = "") -> dict[str, list[str]]:
    """Return the values of each key of the service, in the order that they are written in."""
    found: dict[str, list[str]] = {}
    section = (text or UNIT.read_text()).partition("[Service]")[2].partition("[Install]")[0]
    for line in section.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_the_commands_that_are_started_exist() -> None:
    shown = typer.testing.CliRunner().invoke(app, ["serve", "--help"]).output
    assert "--workers" in shown
    assert "--reload" in shown
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    assert unit["Service"]["ExecStart"].endswith("serve --workers 2")
    assert unit["Service"]["ExecReload"].endswith("serve --reload")
    assert unit["Service"]["Type"] == "notify"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "tokenworks.service"
    unit.write_text(UNIT.read_text().replace(PROGRAM, shutil.which("true") or "/bin/true"))
    checked = analyze("verify", str(unit))
    said = [line for line in checked.stderr.splitlines() if "tokenworks.service" in line]
    assert not said, said


def test_a_word_that_systemd_does_not_know_is_found(tmp_path: Path) -> None:
    unit = tmp_path / "tokenworks.service"
    text = UNIT.read_text().replace(PROGRAM, shutil.which("true") or "/bin/true")
    unit.write_text(text.replace("ProtectClock=", "ProtectClocks="))
    assert "ProtectClocks" in analyze("verify", str(unit)).stderr


def exposed(unit: Path) -> float:
    checked = analyze("security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", checked.stdout)
    if found is None:
        pytest.skip(f"this systemd does not judge a unit that is not installed: {checked.stderr.strip()[:200]}")
    return float(found[1])


def test_the_service_is_hardly_exposed_and_every_line_counts(tmp_path: Path) -> None:
    assert exposed(UNIT) <= MOST_EXPOSED
    open_unit = tmp_path / "tokenworks.service"
    kept = [line for line in UNIT.read_text().splitlines() if not re.match(r"(Protect|Private|Restrict|System)", line)]
    open_unit.write_text("\n".join(kept))
    assert exposed(open_unit) > MOST_EXPOSED + 4


def test_what_the_server_needs_is_left_to_it() -> None:
    given = service()
    assert "MemoryDenyWriteExecute" not in given  # engines compile
    assert "ProcSubset" not in given  # what a machine has is read from /proc
    assert given["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]
    assert given["StateDirectory"] == ["tokenworks"]
    assert float(given["TimeoutStopSec"][0]) >= 30 + 10
