"""What only one of the artifact back ends can show: full disks, kills, left-overs, missing buckets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tokenworks.core.errors import StoreError
from tokenworks.core.ids import sha256_hex
from tokenworks.store.artifacts import open_artifacts


def test_a_full_disk_is_named_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    code = f"""
        import resource, signal
        from pathlib import Path
        from tokenworks.core.errors import StoreError
        from tokenworks.store.artifacts import open_artifacts
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = open_artifacts({str(tmp_path / "store")!r}, cache=Path({str(tmp_path / "cache")!r}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            store.put_bytes(bytes(200_000))
        except StoreError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert str(tmp_path / "store") in done.stdout
    assert "ree some space" in done.stdout
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_killed_write_leaves_nothing_that_looks_like_an_artifact(tmp_path: Path) -> None:
    code = f"""
        from pathlib import Path
        from tokenworks.store.artifacts import open_artifacts
        store = open_artifacts({str(tmp_path / "store")!r}, cache=Path({str(tmp_path / "cache")!r}))
        number = 0
        while True:
            number += 1
            store.put_bytes(str(number).encode() * 1000)
            print(number, flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(20):
        last = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = open_artifacts(str(tmp_path / "store"), cache=tmp_path / "cache")
    found = list(store.digests())
    assert {sha256_hex(str(number).encode() * 1000) for number in range(1, last + 1)} <= set(found)
    assert all(sha256_hex(store.get_bytes(digest)) == digest for digest in found)


def test_left_overs_of_killed_processes_are_swept_after_a_day(tmp_path: Path) -> None:
    open_artifacts(str(tmp_path), cache=tmp_path / "cache")
    old, new = tmp_path / "partial" / "old", tmp_path / "partial" / "new"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (time.time() - 100_000,) * 2)
    open_artifacts(str(tmp_path), cache=tmp_path / "cache")
    assert (old.exists(), new.exists()) == (False, True)


def test_blobs_are_read_only_and_fanned_out(tmp_path: Path) -> None:
    digest = open_artifacts(str(tmp_path), cache=tmp_path / "cache").put_bytes(b"x")
    path = tmp_path / digest[:2] / digest[2:4] / digest
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_folder_shares_the_disk_space_of_its_blobs(tmp_path: Path) -> None:
    store = open_artifacts(str(tmp_path / "store"), cache=tmp_path / "cache")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"large")
    folder = store.folder(store.put_folder(tmp_path / "model"))
    assert (folder / "weights").stat().st_nlink == 2


def test_a_url_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="ftp://"):
        open_artifacts("ftp://host/path", cache=tmp_path)


def test_an_s3_server_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=r"s3://bucket.*store\.s3_endpoint"):
        open_artifacts("s3://bucket/x", cache=tmp_path, s3_endpoint="http://127.0.0.1:9")
