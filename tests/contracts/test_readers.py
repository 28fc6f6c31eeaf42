"""What every reader must do, run over every reader found."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks import parts
from tokenworks.line.ingest.examine import load_reader, reader_names
from tokenworks.line.ingest.params import Limits
from tokenworks.line.ingest.reading import READERS, RawDocument, Rejected, UnreadableError

NAMES = parts.names(READERS)
LIMITS = Limits(file_bytes=1 << 16, document_bytes=1 << 12, line_bytes=1 << 12)


def read(name: str, data: bytes) -> list[RawDocument | Rejected]:
    """Read all of `data`; a refusal with a reason is an answer too."""
    reader = load_reader(name)
    got: list[RawDocument | Rejected] = []
    try:
        for item in reader.read(io.BytesIO(data), "file" + reader.SUFFIXES[0], LIMITS):
            got.append(item)
    except UnreadableError as error:
        got.append(Rejected(part="", reason=error.reason, detail=error.detail))
    return got


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_says_what_it_reads(name):
    reader = load_reader(name)
    assert reader.SUFFIXES
    assert all(suffix == "" or re.fullmatch(r"\.[a-z0-9+]+", suffix) for suffix in reader.SUFFIXES)
    assert "/" in reader.MEDIA_TYPE
    assert reader.VERSION
    assert reader.__doc__


def test_no_two_readers_claim_one_suffix():
    claims = [suffix for name in NAMES for suffix in load_reader(name).SUFFIXES]
    assert len(claims) == len(set(claims)) == len(reader_names({}))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"\xff\xfe\xfd", b"%PDF-1.4", b"PK\x03\x04", b"x" * (1 << 17)])
def test_bad_bytes_end_in_documents_or_a_reason_never_in_a_crash(name, data):
    for item in read(name, data):
        assert isinstance(item, RawDocument | Rejected)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=600))
def test_any_bytes_end_in_documents_or_a_reason(name, data):
    for item in read(name, data):
        assert isinstance(item.text, str) if isinstance(item, RawDocument) else re.fullmatch(r"[a-z-]+", item.reason)


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_gives_the_same_twice(name):
    data = b"key,text\n1,one line\n2,another line\n"
    assert read(name, data) == read(name, data)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_beyond_the_limits_is_never_held_whole(name):
    class Endless(io.RawIOBase):
        """A line without an end, which counts what is taken of it."""

        taken = 0

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            return 0

        def readinto(self, buffer: bytearray) -> int:
            self.taken += len(buffer)
            buffer[:] = b"a" * len(buffer)
            return len(buffer)

    raw = Endless()
    reader = load_reader(name)
    with pytest.raises(UnreadableError):
        list(reader.read(io.BufferedReader(raw), "file" + reader.SUFFIXES[0], LIMITS))
    assert raw.taken <= 4 * LIMITS.file_bytes
