from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import model_signing
import msgspec
import pytest

from tokenworks.core.errors import IntegrityError, RefusedError
from tokenworks.ledger.entries import ModelEntry
from tokenworks.ledger.reader import read
from tokenworks.line.release.bom import ModelFacts
from tokenworks.line.release.inspect import verify_folder
from tokenworks.line.release.register import register, seal

FACTS = ModelFacts(
    model="route", kind="classify", label="internal", licence="MIT", owner="mailto:team@example.org", stage_key="s"
)


def _seal(shop, folder: Path, facts: ModelFacts = FACTS) -> str:
    digest = shop.artifacts.put_folder(folder)
    return seal(digest, facts, artifacts=shop.artifacts, key=shop.key, scratch=shop.home / "work")


def test_a_sealed_folder_holds_model_bill_and_signature_and_verifies(shop, model_folder: Path):
    sealed = shop.artifacts.folder(_seal(shop, model_folder))
    assert {p.name for p in sealed.iterdir()} - {p.name for p in model_folder.iterdir()} == {
        "bom.cdx.json",
        "model.sig",
    }
    verify_folder(sealed, shop.key.public)


def test_the_official_library_verifies_a_sealed_folder(shop, model_folder: Path):
    sealed = shop.artifacts.folder(_seal(shop, model_folder))
    public = shop.home / "keys" / "signing.pub.pem"
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
    config.verify(sealed, sealed / "model.sig")


def test_the_bill_of_materials_is_covered_by_the_signature(shop, model_folder: Path, tmp_path: Path):
    sealed = shop.artifacts.folder(_seal(shop, model_folder))
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in sealed.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    bill = copy / "bom.cdx.json"
    bill.write_bytes(bill.read_bytes().replace(b"MIT", b"GPL"))
    with pytest.raises(IntegrityError, match=r"changed: bom\.cdx\.json"):
        verify_folder(copy, shop.key.public)


def test_what_the_folder_says_of_itself_fills_gaps_in_the_facts(shop, model_folder: Path):
    sealed = shop.artifacts.folder(_seal(shop, model_folder))
    document = json.loads((sealed / "bom.cdx.json").read_bytes())
    model = document["metadata"]["component"]
    assert model["description"] == "Routes mail."
    assert model["modelCard"]["modelParameters"]["modelArchitecture"] == "BertModel"
    assert [each["name"] for each in document["components"]] == ["minilm"]


def test_sealing_twice_gives_the_same_digest_and_leaves_no_scratch(shop, model_folder: Path):
    first = _seal(shop, model_folder)
    assert _seal(shop, model_folder) == first
    assert [p.name for p in (shop.home / "work").iterdir() if p.is_dir()] == []


def test_sealing_a_sealed_folder_with_new_facts_replaces_bill_and_signature(shop, model_folder: Path):
    first = _seal(shop, model_folder)
    again = seal(
        first,
        msgspec.structs.replace(FACTS, licence="Apache-2.0"),
        artifacts=shop.artifacts,
        key=shop.key,
        scratch=shop.home / "work",
    )
    assert again != first
    verify_folder(shop.artifacts.folder(again), shop.key.public)


def test_a_folder_with_a_pickle_is_not_sealed(shop, model_folder: Path):
    (model_folder / "optimizer.pt").write_bytes(pickle.dumps({}))
    with pytest.raises(RefusedError, match=r"optimizer\.pt"):
        _seal(shop, model_folder)


def test_sealing_does_not_touch_the_stored_model(shop, model_folder: Path):
    digest = shop.artifacts.put_folder(model_folder)
    seal(digest, FACTS, artifacts=shop.artifacts, key=shop.key, scratch=shop.home / "work")
    assert {p.name for p in shop.artifacts.folder(digest).iterdir()} == {p.name for p in model_folder.iterdir()}


_KILLED = """
import os, sys
from pathlib import Path
import tokenworks.line.release.register as register
from tokenworks.line.release.keys import ensure_signing_key
from tokenworks.store.artifacts import open_artifacts
home, digest = Path(sys.argv[1]), sys.argv[2]
register.sign_folder = lambda *a, **k: os.kill(os.getpid(), 9)
facts = register.ModelFacts(model="route", kind="classify", label="internal", licence="MIT",
                            owner="mailto:team@example.org", stage_key="s")
artifacts = open_artifacts(str(home / "artifacts"), cache=home / "cache")
register.seal(digest, facts, artifacts=artifacts, key=ensure_signing_key(home), scratch=home / "work")
"""


def test_a_sealing_that_was_killed_half_way_ends_the_same_when_called_again(shop, model_folder: Path):
    digest = shop.artifacts.put_folder(model_folder)
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(shop.home), digest], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert any((shop.home / "work").glob("*/bom.cdx.json"))  # it was really in the middle
    after = _seal(shop, model_folder)
    verify_folder(shop.artifacts.folder(after), shop.key.public)
    assert _seal(shop, model_folder) == after


def test_versions_are_numbered_and_each_is_entered_in_the_ledger_once(shop):
    first, second = shop.version(1), shop.version(2)
    again = shop.version(1)
    assert (first.ref, second.ref, again.ref) == ("route@1", "route@2", "route@1")
    entries = [entry for _, entry in read(shop.ledger_root) if isinstance(entry, ModelEntry)]
    assert [(e.model, e.version, e.folder) for e in entries] == [
        ("route", 1, first.folder),
        ("route", 2, second.folder),
    ]


def test_a_model_without_an_owner_is_not_registered(shop):
    with pytest.raises(RefusedError, match=r"no owner; name one in the task file"):
        shop.version(1, owner="")
    assert shop.catalog.models.names() == []


def test_registering_needs_no_reading_of_the_folder(shop, model_folder: Path):
    version = shop.version(3)
    same = msgspec.structs.replace(version, version=0)
    assert register(same, catalog=shop.catalog, ledger=shop.ledger) == version
