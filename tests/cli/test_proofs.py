"""`tokenworks ledger prove|check|watch|verify` as an operator, an auditor and a witness use them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.tampering import stand_alone
from patience import until
from system.processes import tokenworks
from tokenworks.factory.house import House
from tokenworks.ledger.entries import RequestEntry


@pytest.fixture
def home(tmp_path: Path) -> Path:
    _record(tmp_path / "home", 0, 20)
    return tmp_path / "home"


def _record(home: Path, first: int, last: int) -> None:
    with House(home=home) as house:
        for n in range(first, last):
            house.ledger.append(RequestEntry(at=1.0 * n, request_id=f"req-{n}", endpoint="e", outcome="ok", status=200))


def test_from_a_request_to_a_proof_that_a_stranger_can_check(home: Path, tmp_path: Path) -> None:
    vkey = (home / "keys" / "ledger.vkey").read_text().strip()
    made = tokenworks(home, "ledger", "prove", "req-7", "--out", str(tmp_path / "proof"))
    assert made.returncode == 0, made.stderr
    told = tokenworks(tmp_path / "elsewhere", "ledger", "check", str(tmp_path / "proof"), "--key", vkey)
    assert told.returncode == 0, told.stderr
    assert "entry 7 of tokenworks/" in told.stdout
    assert stand_alone("check_proof.py", tmp_path / "proof", vkey).returncode == 0
    (tmp_path / "proof").write_text((tmp_path / "proof").read_text().replace("index 7", "index 8"))
    assert tokenworks(home, "ledger", "check", str(tmp_path / "proof")).returncode == 4
    assert tokenworks(home, "ledger", "prove", "req-99").returncode == 4
    assert tokenworks(home, "ledger", "check", str(tmp_path / "nothing")).returncode == 3


def test_a_witness_cosigns_and_later_sees_the_disk_rolled_back(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / "backup")
    _record(home, 20, 40)
    witness = str(tmp_path / "witness")
    seen = tokenworks(home, "ledger", "watch", witness, "--name", "example.org/w", "--once")
    assert seen.returncode == 0, seen.stderr
    assert "40 entries cosigned" in seen.stdout
    proven = tokenworks(home, "ledger", "prove", "req-30", "--witness", witness, "--out", str(tmp_path / "proof"))
    assert proven.returncode == 0, proven.stderr
    by = tokenworks(home, "ledger", "check", str(tmp_path / "proof"), "--witness", f"{witness}/witness.vkey")
    assert "cosigned by example.org/w at " in by.stdout
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "backup", home)
    assert tokenworks(home, "ledger", "verify").returncode == 0  # every byte of it was once right
    told = tokenworks(home, "--json", "ledger", "verify", "--witness", witness)
    assert told.returncode == 4
    assert [(each["index"], each["end"]) for each in json.loads(told.stdout)["problems"]] == [(20, 40)]
    again = tokenworks(home, "ledger", "watch", witness, "--once")
    assert again.returncode == 4
    assert "rolled back" in again.stdout


def test_growth_since_an_older_checkpoint_is_proven(home: Path, tmp_path: Path) -> None:
    tokenworks(home, "ledger", "watch", str(tmp_path / "witness"), "--once")
    (old,) = (tmp_path / "witness").glob("*/checkpoint")
    _record(home, 20, 40)
    made = tokenworks(home, "ledger", "prove", "cli-0", "--since", str(old), "--out", str(tmp_path / "proof"))
    assert made.returncode == 0, made.stderr
    told = tokenworks(home, "ledger", "check", str(tmp_path / "proof"), "--since", str(old))
    assert "the first 20 of 40 entries are those of" in told.stdout, told.stderr


def test_a_running_witness_follows_a_running_writer_and_ends_at_a_fork(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / "backup")
    command = [sys.executable, "-m", "tokenworks.cli.main", "--home", str(home), "--json", "ledger", "watch"]
    process = subprocess.Popen([*command, str(tmp_path / "witness"), "--every", "0.05"], stdout=subprocess.DEVNULL)
    try:
        _record(home, 20, 60)
        until(lambda: _last_seen(tmp_path / "witness") == 60)
        shutil.rmtree(home)
        shutil.copytree(tmp_path / "backup", home)
        _record(home, 500, 580)
        assert process.wait(timeout=60) == 4
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _last_seen(witness: Path) -> int:
    return max((int(path.read_text().split("\n")[1]) for path in witness.glob("*/checkpoint")), default=0)


def test_a_ledger_gets_a_second_key_and_is_verified_with_both(home: Path) -> None:
    signed = tokenworks(home, "ledger", "sign", "--ml-dsa")
    assert signed.returncode == 0, signed.stderr
    assert "1 logs signed with Ed25519 and ML-DSA-44, of 1" in signed.stdout
    _record(home, 20, 40)
    told = tokenworks(home, "ledger", "verify")
    assert (told.returncode, "signed to 40 with Ed25519 and ML-DSA-44" in told.stdout) == (0, True), told.stdout
    vkey = (home / "keys" / "ledger.vkey").read_text()
    (log,) = (path for path in (home / "ledger").iterdir() if path.is_dir())
    assert "ML-DSA-44" in stand_alone("check_ledger.py", log, vkey).stdout
