from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.line.ingest.decode import decode
from tokenworks.line.ingest.normalise import normalise
from tokenworks.line.ingest.reading import UnreadableError


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("Grüße".encode(), "Grüße", "utf-8"),
        ("Grüße".encode("utf-8-sig"), "Grüße", "utf-8"),
        ("Grüße".encode("utf-16"), "Grüße", "utf-16"),
        ("Grüße".encode("utf-32"), "Grüße", "utf-32"),
        (b"\xfe\xff" + "Grüße".encode("utf-16-be"), "Grüße", "utf-16"),
        ("Grüße".encode("latin-1"), "Grüße", "latin-1"),
        ("Grüße – „so“".encode("cp1252"), "Grüße – „so“", "latin-1"),
    ],
)
def test_an_encoding_is_found_and_told(data, text, encoding):
    assert decode(data) == (text, encoding)


def test_mostly_right_utf8_keeps_its_letters_around_the_damage():
    text, encoding = decode("äöü".encode() * 20 + b"\xff" + "ß".encode() * 20)
    assert encoding == "utf-8-damaged"
    assert text.startswith("äöü")
    assert text.count("\ufffd") == 1


def test_a_declared_encoding_is_tried_before_the_fall_back():
    assert decode("Łódź".encode("iso-8859-2"), "iso-8859-2") == ("Łódź", "iso8859-2")
    assert decode("Grüße".encode("latin-1"), "no-such-codec")[1] == "latin-1"


@pytest.mark.parametrize("data", [b"text\0text", bytes(range(256)), b"\x01\x02\x03" * 50])
def test_binary_is_refused(data):
    with pytest.raises(UnreadableError, match="binary"):
        decode(data)


def test_a_false_byte_order_mark_is_mis_encoded():
    with pytest.raises(UnreadableError, match="mis-encoded"):
        decode(b"\xff\xfea")


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])))
def test_what_was_utf8_comes_back(text):
    assert decode(text.encode())[0] == text.removeprefix("\ufeff")


@given(st.text())
def test_normal_form_is_final(text):
    once = normalise(text)
    assert normalise(once) == once
    assert not any(ord(character) < 32 and character not in "\n\t" for character in once)


def test_newlines_marks_and_composition_are_made_one():
    assert normalise("a\r\nb\rc\u2028d\ufeff\u00ad e\u0301\x07") == "a\nb\nc\nd é"
