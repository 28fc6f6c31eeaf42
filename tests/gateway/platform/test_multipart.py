"""Forms as they arrive: however they are cut into pieces, and whatever is wrong with them."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.platform.multipart import receive_form

TYPE = "multipart/form-data; boundary=edge"


def part(name, value, filename=""):
    shown = f'; filename="{filename}"' if filename else ""
    return f'--edge\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode() + value + b"\r\n"


def received(body, *, size=7):
    """Return the form and the bytes of its file, read in pieces of `size`."""

    async def pieces():
        for start in range(0, len(body), size):
            yield body[start : start + size]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        return asyncio.run(receive_form(TYPE, pieces(), file_field="file", into=path)), path.read_bytes()


@given(st.binary(max_size=400).filter(lambda data: b"--edge" not in data), st.integers(1, 64))
def test_a_file_arrives_whole_however_it_is_cut(data, size):
    body = part("purpose", b"evals") + part("file", data, "a.jsonl") + b"--edge--\r\n"
    form, kept = received(body, size=size)
    assert (form.fields, form.filename, kept) == ({"purpose": "evals"}, "a.jsonl", data)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (part("file", b"x", "a"), "ends before the form does"),
        (part("file", b"x", "a") + part("file", b"y", "b") + b"--edge--\r\n", "two fields 'file'"),
        (part("purpose", b"x" * 5000) + b"--edge--\r\n", "longer than 4096 bytes"),
        (part("p", b"1") + part("p", b"2") + b"--edge--\r\n", "stands twice"),
        (b"".join(part(f"p{n}", b"") for n in range(20)) + b"--edge--\r\n", "too many"),
        (b"no form at all", "no multipart/form-data"),
    ],
)
def test_what_is_no_form_is_refused(body, words):
    with pytest.raises(ApiError, match=words):
        received(body)
