"""Texts are sealed per subject: without its key they are gone, from every copy of the files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import IntegrityError, RefusedError
from tokenworks.ledger.bodies import Bodies, named
from tokenworks.ledger.vault import Subject, Vault

ADA, BOB = Subject("clinic", "ada", "internal"), Subject("clinic", "bob", "internal")
EVER = 9e9


def opened(home: Path) -> Bodies:
    return Bodies(home / "bodies", vault=Vault(home / "keys"))


def test_no_text_is_readable_in_the_files_and_each_comes_back(tmp_path: Path) -> None:
    with opened(tmp_path) as bodies:
        bodies.put(named("clinic", "req-1"), b"a secret prompt", b"a secret answer " * 100, ADA)
        bodies.put_correction("fb-1", "a secret correction", ADA)
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret" not in files
    with opened(tmp_path) as bodies:
        assert bodies.get(named("clinic", "req-1")) == (b"a secret prompt", b"a secret answer " * 100)
        assert bodies.get_correction("fb-1") == "a secret correction"


def test_two_tenants_that_choose_the_same_id_have_a_text_each(tmp_path: Path) -> None:
    with opened(tmp_path) as bodies:
        bodies.put(named("clinic", "req"), b"ours", b"", ADA)
        bodies.put(named("bank", "req"), b"theirs", b"", Subject("bank", "ada"))
        assert bodies.get(named("clinic", "req")) == (b"ours", b"")
        bodies.erase_requests([named("clinic", "req")])
        assert bodies.get(named("bank", "req")) == (b"theirs", b"")
        assert bodies.get(named("clinic", "req")) is None
        assert (bodies.is_erased(named("clinic", "req")), bodies.is_erased(named("bank", "req"))) == (True, False)
        assert bodies.get(named("shop", "req")) is None


def test_texts_from_before_are_read_and_erased_as_they_are(tmp_path: Path) -> None:
    with Bodies(tmp_path / "bodies") as old:
        old.put("req-1", b"plain", b"")
    with opened(tmp_path) as bodies:
        assert bodies.get(named("clinic", "req-1")) == (b"plain", b"")
        bodies.erase_requests([named("clinic", "req-1")])
        assert bodies.get(named("clinic", "req-1")) is None
        assert bodies.is_erased(named("clinic", "req-1"))
    assert b"plain" not in b"".join(path.read_bytes() for path in (tmp_path / "bodies").iterdir())


def test_erasing_the_key_erases_the_texts_in_a_backup_too(tmp_path: Path) -> None:
    with opened(tmp_path) as bodies:
        bodies.put(named("clinic", "req-1"), b"hers", b"", ADA)
        bodies.put(named("clinic", "req-2"), b"his", b"", BOB)
    shutil.copytree(tmp_path / "bodies", tmp_path / "backup")
    with opened(tmp_path) as bodies:
        assert bodies.erase_subject("clinic", "ada", until=EVER)
        assert not bodies.erase_subject("clinic", "ada", until=EVER)
        assert not bodies.erase_subject("clinic", "nobody", until=EVER)
    shutil.rmtree(tmp_path / "bodies")
    shutil.copytree(tmp_path / "backup", tmp_path / "bodies")
    with opened(tmp_path) as bodies:
        assert bodies.get(named("clinic", "req-1")) is None
        assert bodies.is_erased(named("clinic", "req-1"))
        assert bodies.get_many([named("clinic", "req-1"), named("clinic", "req-2")]) == {
            named("clinic", "req-2"): (b"his", b"")
        }


def test_who_asks_again_after_an_erasure_has_another_key(tmp_path: Path) -> None:
    with opened(tmp_path) as bodies:
        bodies.put(named("clinic", "req-1"), b"before", b"", ADA)
        bodies.erase_subject("clinic", "ada", until=EVER)
        bodies.put(named("clinic", "req-2"), b"after", b"", ADA)
        assert bodies.get(named("clinic", "req-2")) == (b"after", b"")
        assert not bodies.erase_subject("clinic", "ada", until=0.0), "a key made later is not meant"
        assert bodies.get(named("clinic", "req-2")) == (b"after", b"")


def test_a_subject_erased_and_met_again_elsewhere_has_the_key_that_was_made_there(tmp_path: Path) -> None:
    ours, theirs = Vault(tmp_path), Vault(tmp_path)
    first = ours.seal(ADA, b"", b"one")
    assert theirs.erase("clinic", "ada", until=EVER)
    second = theirs.seal(ADA, b"", b"two")
    assert ours.open(b"", first) is None
    third = ours.seal(ADA, b"", b"three")
    assert second[:16] == third[:16] != first[:16]
    assert not ours.erase("clinic", "ada", until=0.0)
    assert ours.erase("clinic", "ada", until=EVER)
    assert not theirs.erase("clinic", "ada", until=EVER)
    assert [one.open(b"", each) for one in (ours, theirs) for each in (first, second, third)] == [None] * 6


def test_another_process_learns_of_an_erasure_before_it_seals_the_next_text(tmp_path: Path) -> None:
    with opened(tmp_path) as server:
        server.put(named("clinic", "req-1"), b"before", b"", ADA)
        program = (
            "import sys; from pathlib import Path; from tokenworks.ledger.vault import Vault\n"
            "vault = Vault(Path(sys.argv[1])); assert vault.erase('clinic', 'ada', until=9e9); vault.close()"
        )
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "keys")], check=True)
        assert server.get(named("clinic", "req-1")) is None
        server.put(named("clinic", "req-2"), b"after", b"", ADA)
        with opened(tmp_path) as other:
            assert other.get(named("clinic", "req-2")) == (b"after", b"")


def test_two_processes_that_meet_a_subject_at_once_use_one_key(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tokenworks.ledger.vault import Subject, Vault\n"
        "vault = Vault(Path(sys.argv[1]))\n"
        "ids = [vault.seal(Subject('t', str(n)), b'', b'x')[:16].hex() for n in range(300)]\n"
        "vault.close(); print(*ids)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "keys")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate()[0] for process in both)
    assert first == second
    assert len(set(first.split())) == 300


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flip=st.integers(0, 200), text=st.binary(min_size=1, max_size=100))
def test_a_changed_byte_of_a_sealed_text_is_never_taken_for_the_text(tmp_path: Path, flip: int, text: bytes) -> None:
    vault = Vault(tmp_path)
    sealed = bytearray(vault.seal(ADA, b"rid", text))
    sealed[flip % len(sealed)] ^= 1
    with pytest.raises(IntegrityError):
        vault.open(b"rid", bytes(sealed))
    with pytest.raises(IntegrityError):
        vault.open(b"another", vault.seal(ADA, b"rid", text))
    vault.close()


def test_a_lost_home_key_is_said_and_no_new_one_made(tmp_path: Path) -> None:
    Vault(tmp_path).close()
    os.chmod(tmp_path / "bodies.key", 0o644)
    with pytest.raises(RefusedError, match="chmod 600"):
        Vault(tmp_path)
    (tmp_path / "bodies.key").unlink()
    with pytest.raises(IntegrityError, match="restore it from a copy"):
        Vault(tmp_path)


def test_texts_under_a_key_that_is_not_there_are_lost_and_not_erased(tmp_path: Path) -> None:
    with opened(tmp_path) as bodies:
        bodies.put(named("clinic", "req-1"), b"text", b"", ADA)
    shutil.rmtree(tmp_path / "keys")
    with opened(tmp_path) as bodies, pytest.raises(IntegrityError, match="restore"):
        bodies.get(named("clinic", "req-1"))


def test_each_label_has_files_of_its_own_and_an_age_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path) as bodies:
        for label in ("restricted", "internal", ""):
            bodies.put(named("clinic", f"req-{label}"), b"text", b"", Subject("clinic", "ada", label))
    for path in (tmp_path / "bodies").iterdir():
        os.utime(path, (1000, 1000))
    with opened(tmp_path) as bodies:
        assert bodies.labels() == {"restricted", "internal", ""}
        assert bodies.drop_older(2000, "restricted") == 1
        assert bodies.get(named("clinic", "req-restricted")) is None
        assert bodies.get(named("clinic", "req-internal")) == (b"text", b"")
        assert bodies.drop_older(2000) == 2


def test_what_is_held_stays_while_the_rest_of_its_file_goes(tmp_path: Path) -> None:
    with opened(tmp_path) as bodies:
        for tenant, user in (("clinic", "ada"), ("clinic", "bob"), ("bank", "ada")):
            bodies.put(named(tenant, f"req-{user}"), b"text", b"", Subject(tenant, user, "internal"))
        bodies.put_correction("fb-ada", "right", ADA)
        bodies.put_correction("fb-bob", "right", BOB)
    for path in (tmp_path / "bodies").iterdir():
        os.utime(path, (1000, 1000))
    with opened(tmp_path) as bodies:
        assert bodies.drop_older(2000, held=[Subject("clinic", "ada")]) == 3
        assert bodies.get(named("clinic", "req-ada")) == (b"text", b"")
        assert bodies.get_correction("fb-ada") == "right"
        assert bodies.get(named("clinic", "req-bob")) is None
        assert bodies.get(named("bank", "req-ada")) is None
        assert bodies.get_correction("fb-bob") is None
        assert bodies.drop_older(2000, held=[Subject("clinic")]) == 0
        assert bodies.drop_older(2000) == 5, "lifted, the file goes"
        assert list((tmp_path / "bodies").iterdir()) == []
