"""A witness over HTTP: it cosigns growth, refuses another past, and is not brought down by what is sent."""

from __future__ import annotations

import http.client
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ledger.tampering import SMALL
from tokenworks.core.errors import ConfigError, IntegrityError, StoreError
from tokenworks.ledger import heads
from tokenworks.ledger.cosigning import Cosigner
from tokenworks.ledger.note import LOG, SignerKey
from tokenworks.ledger.proof import check_entry
from tokenworks.ledger.proving import entry_proof
from tokenworks.ledger.verify import verify
from tokenworks.ledger.watch import remembered
from tokenworks.ledger.witness import Witness
from tokenworks.ledger.witness_http import WitnessServer, folder_name
from tokenworks.ledger.writer import Ledger

KEY = SignerKey.make("example.com/ledger", LOG)
ORIGIN = "example.com/ledger/gateway"


def grow(root: Path, entry, first: int, last: int, key: SignerKey = KEY) -> None:
    with Ledger(root, "gateway", segment_bytes=SMALL, key=key) as ledger:
        for number in range(first, last):
            ledger.append(entry(number))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WitnessServer]:
    witness = Witness(tmp_path / "far-away", KEY.public, name="example.org/witness")
    server = WitnessServer(witness, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def cosigner(server: WitnessServer, folder: Path) -> Cosigner:
    return Cosigner(server.url, server.witness.public, folder)


def ask(server: WitnessServer, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=5)
    connection.request(method, path, body)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_growth_is_cosigned_and_what_is_kept_here_proves_and_verifies(server, tmp_path: Path, entry) -> None:
    root, views, kept = tmp_path / "ledger", tmp_path / "views", tmp_path / "witnesses"
    for last in (3, 40, 41):
        grow(root, entry, 0 if last == 3 else 3, last)
        assert cosigner(server, kept).cosign(root, views) == {"gateway": {3: 3, 40: 40, 41: 78}[last]}
    assert cosigner(server, kept).cosign(root, views) == {}
    proof = entry_proof(root, views, "gateway:50", kept)
    assert list(check_entry(proof, KEY.public, [server.witness.public]).cosigned) == ["example.org/witness"]
    found = verify(root, key=KEY.public, witnessed=remembered([kept]))
    assert (found.ok, found.witnessed) == (True, {"gateway": 78})
    assert ask(server, "GET", f"/{folder_name(ORIGIN)}/checkpoint")[1].startswith(ORIGIN)
    assert ask(server, "GET", "/witness.vkey") == (200, f"{server.witness.public}\n")


def test_a_home_that_forgot_what_was_cosigned_asks_from_where_the_witness_is(server, tmp_path: Path, entry) -> None:
    grow(tmp_path / "ledger", entry, 0, 20)
    cosigner(server, tmp_path / "kept").cosign(tmp_path / "ledger", tmp_path / "views")
    grow(tmp_path / "ledger", entry, 20, 30)
    shutil.rmtree(tmp_path / "kept")
    assert cosigner(server, tmp_path / "kept").cosign(tmp_path / "ledger", tmp_path / "views") == {"gateway": 30}


def test_a_rolled_back_and_a_rewritten_log_are_refused_though_both_are_signed(server, tmp_path: Path, entry) -> None:
    root = tmp_path / "ledger"
    grow(root, entry, 0, 20)
    shutil.copytree(root, tmp_path / "backup")
    grow(root, entry, 20, 50)
    cosigner(server, tmp_path / "kept").cosign(root, tmp_path / "views")
    shutil.rmtree(root)
    shutil.copytree(tmp_path / "backup", root)
    shutil.rmtree(tmp_path / "views")
    for folder in ("kept", "fresh"):
        with pytest.raises(IntegrityError, match="rolled back"):
            cosigner(server, tmp_path / folder).cosign(root, tmp_path / "views")
    grow(root, entry, 100, 150)  # and gone on: a fork
    with pytest.raises(IntegrityError, match=r"refused|differ|changed"):
        cosigner(server, tmp_path / "fresh").cosign(root, tmp_path / "views-2")


def test_another_logs_key_and_another_witness_are_refused(server, tmp_path: Path, entry) -> None:
    grow(tmp_path / "ledger", entry, 0, 5, SignerKey.make("example.com/ledger", LOG))
    with pytest.raises(IntegrityError, match="refused"):
        cosigner(server, tmp_path / "kept").cosign(tmp_path / "ledger", tmp_path / "views")
    grow(tmp_path / "ours", entry, 0, 5)
    stranger = Witness(tmp_path / "stranger", KEY.public, name="example.org/witness").public
    with pytest.raises(IntegrityError, match=r"is it right|does not fit"):
        Cosigner(server.url, stranger, tmp_path / "kept").cosign(tmp_path / "ours", tmp_path / "views")
    with pytest.raises(StoreError, match="asked again"):
        Cosigner("http://127.0.0.1:9", stranger, tmp_path / "kept").cosign(tmp_path / "ours", tmp_path / "views")
    with pytest.raises(ConfigError, match="https://"):
        Cosigner("ftp://x", stranger, tmp_path / "kept")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/add-checkpoint", b"", 400),
        ("POST", "/add-checkpoint", b"\xff\xfe", 400),
        ("POST", "/add-checkpoint", b"old 0\n\nnot a note\n", 403),
        ("POST", "/add-checkpoint", b"old 99999999999999999999999\n\nx\n\n\xe2\x80\x94 a AAAAAAAA\n", 403),
        ("POST", "/add-checkpoint", b"x" * (129 << 10), 413),
        ("POST", "/else", b"", 404),
        ("GET", "/../witness.key", None, 404),
        ("GET", "/witness.key", None, 404),
        ("GET", "/%2e%2e/checkpoint", None, 404),
    ],
)
def test_nonsense_is_refused_and_the_next_is_answered(server, method, path, body, status) -> None:
    assert ask(server, method, path, body)[0] == status
    assert ask(server, "GET", "/witness.vkey")[0] == 200


def test_a_head_that_is_not_signed_is_said(server, tmp_path: Path, entry) -> None:
    with Ledger(tmp_path / "ledger", "gateway") as ledger:
        ledger.append(entry(0))
    assert not heads.read_head(tmp_path / "ledger" / "gateway" / heads.LATEST).checkpoint
    with pytest.raises(IntegrityError, match="ledger sign"):
        cosigner(server, tmp_path / "kept").cosign(tmp_path / "ledger", tmp_path / "views")
