"""Signed notes: as the specification writes them, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import ConfigError, IntegrityError
from tokenworks.ledger.note import LOG, WITNESS, Note, SignerKey, VerifierKey

# The example of c2sp.org/signed-note.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
KEY = SignerKey.make("example.com/log", LOG)
WITNESS_KEY = SignerKey.make("example.org/witness", WITNESS)


def test_the_example_of_the_specification_verifies() -> None:
    key, note = VerifierKey.parse(VKEY), Note.parse(NOTE)
    assert key.verified(note) == 0.0
    assert (str(key), str(note)) == (VKEY, NOTE)


def test_a_changed_text_is_refused_and_an_unknown_signature_is_ignored() -> None:
    key = VerifierKey.parse(VKEY)
    with pytest.raises(IntegrityError, match="does not fit the text"):
        key.verified(Note.parse(NOTE.replace("example message", "exemple message")))
    assert KEY.public.verified(Note.parse(NOTE)) is None


def test_a_witness_signs_the_time_too() -> None:
    note = Note("text\n").with_signature(KEY.sign("text\n")).with_signature(WITNESS_KEY.sign("text\n", 1_700_000_000.9))
    read = Note.parse(str(note))
    assert (KEY.public.verified(read), WITNESS_KEY.public.verified(read)) == (0.0, 1_700_000_000.0)
    later = Note("text\n", (WITNESS_KEY.sign("text\n", 5.0),))
    value = b"\0" * 7 + b"\6" + later.signatures[0].value[8:]
    moved = Note("text\n", (type(later.signatures[0])(WITNESS_KEY.name, WITNESS_KEY.public.key_id, value),))
    with pytest.raises(IntegrityError):
        WITNESS_KEY.public.verified(moved)


@given(
    text=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1).map(lambda text: text + "\n")
)
def test_whatever_is_signed_is_read_back_and_verified(text: str) -> None:
    note = Note.parse(str(Note(text, (KEY.sign(text),))))
    assert note.text == text
    assert KEY.public.verified(note) == 0.0


@given(
    junk=st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1")), st.sampled_from([NOTE[:-1], "\n"]))
)
def test_junk_is_refused_by_name_and_never_otherwise(junk: str) -> None:
    with pytest.raises(IntegrityError, match="signed note"):
        Note.parse(junk)
    with pytest.raises(ConfigError, match="verifier key"):
        VerifierKey.parse(junk)
    with pytest.raises(IntegrityError):
        SignerKey.parse(junk)


def test_keys_are_kept_as_lines() -> None:
    assert SignerKey.parse(KEY.secret()).public == KEY.public
    assert VerifierKey.parse(str(WITNESS_KEY.public)) == WITNESS_KEY.public
    with pytest.raises(ConfigError, match="its id should be"):
        VerifierKey.parse(VKEY.replace("530d903a", "530d903b"))
    with pytest.raises(ConfigError, match="without spaces"):
        SignerKey.make("two words", LOG)
