"""What every artifact store keeps, whatever it is made of: a local folder, and S3 over a real socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import ErasedError, IntegrityError, NotFoundError, StoreError
from tokenworks.core.ids import canonical_json, sha256_hex
from tokenworks.store.artifacts import ArtifactStore, open_artifacts

ABSENT = "0" * 64


@pytest.fixture(params=["local", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The URL of an empty store and, for S3, its endpoint."""
    if request.param == "local":
        return str(tmp_path / "artifacts"), ""
    endpoint = request.getfixturevalue("s3_endpoint")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    import boto3

    bucket = f"bucket-{uuid.uuid4().hex}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/some/prefix", endpoint


@pytest.fixture
def store(url: tuple[str, str], tmp_path: Path) -> ArtifactStore:
    return open_artifacts(url[0], cache=tmp_path / "cache", s3_endpoint=url[1])


@pytest.fixture
def damage(url: tuple[str, str], tmp_path: Path) -> Callable[[str, bytes], None]:
    """A way to change stored bytes behind the store's back."""

    def damage(digest: str, data: bytes) -> None:
        if not url[1]:
            path = Path(url[0]) / digest[:2] / digest[2:4] / digest
            path.chmod(0o644)
            path.write_bytes(data)
            return
        import boto3

        bucket, _, prefix = url[0].removeprefix("s3://").partition("/")
        key = f"{prefix}/{digest[:2]}/{digest[2:4]}/{digest}"
        client = boto3.client("s3", endpoint_url=url[1], region_name="us-east-1")
        client.head_object(Bucket=bucket, Key=key)
        client.put_object(Bucket=bucket, Key=key, Body=data)
        cached = tmp_path / "cache" / "blobs" / digest[:2] / digest[2:4] / digest
        cached.unlink(missing_ok=True)

    return damage


def _tree(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def test_bytes_come_back_under_their_own_hash(store: ArtifactStore) -> None:
    digest = store.put_bytes(b"hello")
    assert digest == sha256_hex(b"hello")
    assert store.get_bytes(digest) == b"hello"
    assert store.has(digest)
    assert store.size(digest) == 5


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=5000))
def test_any_bytes_survive_the_round_trip(store: ArtifactStore, data: bytes) -> None:
    digest = store.put_bytes(data)
    with store.open(digest) as file:
        assert file.read() == data


def test_equal_content_is_kept_once(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"same")
    assert store.put_file(tmp_path / "a") == store.put_bytes(b"same")
    assert list(store.digests()) == [sha256_hex(b"same")]


def test_a_large_file_passes_through_in_constant_memory(store: ArtifactStore, tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "large"
    with path.open("wb") as file:
        for number in range(24):
            file.write(bytes([number]) * (1 << 20))
    store.put_bytes(b"warm")  # what the back end's libraries allocate once is not the question
    tracemalloc.start()
    digest = store.put_file(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20
    with store.open(digest) as stored:
        assert stored.read(1) == b"\x00"
        assert stored.seek(-1, os.SEEK_END) == (24 << 20) - 1
        assert stored.read() == bytes([23])


def test_what_was_never_stored_is_not_found(store: ArtifactStore) -> None:
    assert not store.has(ABSENT)
    for ask in (store.get_bytes, store.open, store.folder, store.size):
        with pytest.raises(NotFoundError, match=ABSENT):
            ask(ABSENT)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_name_that_is_no_digest_is_refused(store: ArtifactStore, name: str) -> None:
    with pytest.raises(StoreError, match="no artifact digest"):
        store.get_bytes(name)


def test_changed_bytes_are_refused_with_digest_place_and_way_out(
    store: ArtifactStore, damage: Callable[[str, bytes], None]
) -> None:
    digest = store.put_bytes(b"model weights")
    damage(digest, b"model weighty")
    for ask in (store.get_bytes, store.open):
        with pytest.raises(IntegrityError, match=f"{digest} at .*{digest}.*run the stage again"):
            ask(digest)


def test_a_folder_comes_back_as_it_was(store: ArtifactStore, tmp_path: Path) -> None:
    files = {"config.json": b"{}", "deep/er/weights.bin": b"\x00" * 1000, "empty": b"", "wäre/ß": b"utf-8"}
    digest = store.put_folder(_tree(tmp_path / "model", files))
    assert store.manifest(digest) == {name: (sha256_hex(data), len(data)) for name, data in files.items()}
    assert digest == sha256_hex(canonical_json(store.manifest(digest)))
    folder = store.folder(digest)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == files
    assert all(path.stat().st_mode & 0o222 == 0 for path in folder.rglob("*") if path.is_file())
    assert store.folder(digest) == folder


def test_equal_folders_have_equal_digests_whatever_their_place(store: ArtifactStore, tmp_path: Path) -> None:
    one = store.put_folder(_tree(tmp_path / "one", {"b": b"2", "a": b"1"}))
    two = store.put_folder(_tree(tmp_path / "two", {"a": b"1", "b": b"2"}))
    assert one == two


def test_a_folder_with_a_changed_blob_is_refused(
    store: ArtifactStore, damage: Callable[[str, bytes], None], tmp_path: Path
) -> None:
    digest = store.put_folder(_tree(tmp_path / "model", {"weights": b"good"}))
    damage(sha256_hex(b"good"), b"evil")
    with pytest.raises(IntegrityError, match=sha256_hex(b"good")):
        store.folder(digest)
    assert not (tmp_path / "cache" / "folders" / digest).exists()


@pytest.mark.parametrize("wound", ["missing", "added"])
def test_a_materialised_folder_that_was_changed_is_made_again(store: ArtifactStore, tmp_path: Path, wound: str) -> None:
    digest = store.put_folder(_tree(tmp_path / "model", {"weights": b"good", "config": b"{}"}))
    folder = store.folder(digest)
    if wound == "missing":
        (folder / "weights").unlink()
    else:
        (folder / "extra.pkl").write_bytes(b"evil")
    assert sorted(path.name for path in store.folder(digest).iterdir()) == ["config", "weights"]


def test_a_half_made_folder_of_a_killed_process_is_not_taken_for_whole(store: ArtifactStore, tmp_path: Path) -> None:
    digest = store.put_folder(_tree(tmp_path / "model", {"weights": b"good", "config": b"{}"}))
    folders = tmp_path / "cache" / "folders"
    _tree(folders / digest, {"config": b"{}"})
    _tree(folders / f"partial-{digest}", {"junk": b"left over"})
    assert (store.folder(digest) / "weights").read_bytes() == b"good"
    assert not (folders / f"partial-{digest}").exists()


MATERIALISE = """
import sys
from pathlib import Path
from tokenworks.store.artifacts import open_artifacts
url, endpoint, cache, digest = sys.argv[1:]
print(len(list(open_artifacts(url, cache=Path(cache), s3_endpoint=endpoint).folder(digest).iterdir())))
"""


def test_processes_may_materialise_the_same_folder_at_once(
    store: ArtifactStore, url: tuple[str, str], tmp_path: Path
) -> None:
    digest = store.put_folder(_tree(tmp_path / "model", {f"part-{n}": bytes([n]) * 5000 for n in range(40)}))
    command = [sys.executable, "-c", MATERIALISE, *url, str(tmp_path / "shared"), digest]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [worker.communicate()[0] for worker in workers] == ["40\n"] * 3


def test_a_link_inside_the_folder_is_stored_as_a_file(store: ArtifactStore, tmp_path: Path) -> None:
    folder = _tree(tmp_path / "model", {"weights": b"good"})
    (folder / "alias").symlink_to("weights")
    assert store.manifest(store.put_folder(folder))["alias"] == (sha256_hex(b"good"), 4)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", ".", "nowhere"])
def test_a_link_out_of_the_folder_or_to_no_file_is_refused(store: ArtifactStore, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    folder = _tree(tmp_path / "model", {"weights": b"good"})
    (folder / "link").symlink_to(target)
    with pytest.raises(StoreError, match=r"link.*copy"):
        store.put_folder(folder)


def test_a_pipe_in_a_folder_is_refused_rather_than_waited_for(store: ArtifactStore, tmp_path: Path) -> None:
    folder = _tree(tmp_path / "model", {"weights": b"good"})
    os.mkfifo(folder / "pipe")
    with pytest.raises(StoreError, match="regular file"):
        store.put_folder(folder)


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "a/../../evil", "", "a//b"])
def test_a_manifest_that_points_outside_is_refused(store: ArtifactStore, name: str) -> None:
    digest = store.put_bytes(canonical_json({name: (sha256_hex(b"x"), 1)}))
    with pytest.raises(IntegrityError, match="outside of the folder"):
        store.folder(digest)


def test_bytes_that_are_no_manifest_are_no_folder(store: ArtifactStore) -> None:
    with pytest.raises(StoreError, match="is no folder"):
        store.folder(store.put_bytes(b"plain text"))


def test_a_missing_file_or_folder_is_named(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing-here"):
        store.put_file(tmp_path / "nothing-here")
    with pytest.raises(StoreError, match="nothing-here"):
        store.put_folder(tmp_path / "nothing-here")


def test_what_was_erased_says_so_and_is_nowhere_left(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"her secret words")
    folder = store.put_folder(tmp_path / "in")
    blob = sha256_hex(b"her secret words")
    shutil.copytree(store.folder(folder), tmp_path / "copy")  # made as a link or a copy, and read
    shutil.rmtree(tmp_path / "in")
    shutil.rmtree(tmp_path / "copy")
    for digest in (folder, blob):
        store.erase(digest, because="er-1")
        store.erase(digest, because="er-1")
        assert not store.has(digest)
        assert store.erased(digest) == "er-1"
    for read in (store.get_bytes, store.open, store.folder, store.size):
        with pytest.raises(NotFoundError):
            read(blob)
    with pytest.raises(ErasedError, match="erased on request \\(er-1\\)"):
        store.get_bytes(blob)
    assert list(store.digests()) == []
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_what_was_never_there_was_not_erased(store: ArtifactStore) -> None:
    assert store.erased(ABSENT) == ""
    with pytest.raises(NotFoundError, match="run the stage"):
        store.get_bytes(ABSENT)


def test_bytes_may_come_back_after_their_erasure(store: ArtifactStore) -> None:
    digest = store.put_bytes(b"text")
    store.erase(digest, because="er-1")
    assert store.put_bytes(b"text") == digest
    assert (store.erased(digest), store.get_bytes(digest)) == ("", b"text")
