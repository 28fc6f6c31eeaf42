"""Tokens to text: never half a character, never part of a stop string, always what the library would say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import EngineError
from tokenworks.serving.tokens import ByteStream, StopFilter, Tokens, WindowStream

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def tokens(tiny_llama: Path) -> Tokens:
    return Tokens(tiny_llama)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """A SentencePiece-like vocabulary: spaces as low lines, single bytes where a character is unknown."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    space = "\u2581"
    vocabulary = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), space, "a", "b", space + "a", "ab"]
    merges = [(space, "a"), ("a", "b")]
    model = models.BPE(
        {piece: number for number, piece in enumerate(vocabulary)}, merges, unk_token="<unk>", byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(space), normalizers.Replace(" ", space)])
    steps = [decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken("<s>", special=True)])
    folder = tmp_path_factory.mktemp("pieces")
    tokenizer.save(str(folder / "tokenizer.json"))
    return Tokens(folder)


@quick
@given(ids=st.lists(st.integers(0, 511), max_size=40), data=st.data())
def test_a_byte_stream_gives_the_librarys_text_however_it_is_cut(
    tokens: Tokens, ids: list[int], data: st.DataObject
) -> None:
    stream = tokens.stream()
    assert isinstance(stream, ByteStream)
    text, place = "", 0
    while place < len(ids):
        step = data.draw(st.integers(1, 5))
        text += stream.feed(ids[place : place + step])
        place += step
    assert text + stream.finish() == tokens.decode(ids)


@quick
@given(text=st.text(max_size=30))
def test_a_byte_stream_never_gives_half_a_character(tokens: Tokens, text: str) -> None:
    stream = tokens.stream()
    for token in tokens.encode(text):
        assert "\ufffd" in text or "\ufffd" not in stream.feed([token])


@quick
@given(text=st.text(alphabet="ab é日👩", max_size=20))
def test_a_window_stream_gives_the_librarys_text(pieces: Tokens, text: str) -> None:
    stream = pieces.stream()
    assert isinstance(stream, WindowStream)
    ids = pieces.encode(text)
    parts = [stream.feed([token]) for token in ids]
    assert "".join(parts) + stream.finish() == pieces.decode(ids)
    assert not any("\ufffd" in part for part in parts)


def test_raw_bytes_of_both_kinds_of_vocabulary(tokens: Tokens, pieces: Tokens) -> None:
    assert b"".join(tokens.raw_vocabulary()[token] for token in tokens.encode("für alle")) == "für alle".encode()
    assert b"".join(pieces.raw_vocabulary()[token] for token in pieces.encode("é ab")) == " é ab".encode()
    assert tokens.raw_vocabulary()[0] == b""


@quick
@given(
    text=st.text(alphabet="abc", max_size=30),
    stops=st.lists(st.text(alphabet="abc", min_size=1, max_size=4), min_size=1, max_size=3),
    data=st.data(),
)
def test_a_stop_string_never_leaks_however_the_text_is_cut(text: str, stops: list[str], data: st.DataObject) -> None:
    stop_filter, given_out, place = StopFilter(stops), "", 0
    while place < len(text) and not stop_filter.stopped:
        step = data.draw(st.integers(1, 4))
        given_out += stop_filter.feed(text[place : place + step])
        assert not any(stop in given_out for stop in stops)
        place += step
    given_out += stop_filter.finish()
    fed = text[: place if stop_filter.stopped else len(text)]
    ends = [fed.find(stop) for stop in stops if stop in fed]
    assert given_out == (fed[: min(ends)] if ends else text)
    assert stop_filter.stopped == bool(ends)


def test_without_stop_strings_nothing_is_held_back() -> None:
    assert StopFilter(()).feed("anything") == "anything"


def test_a_broken_tokenizer_names_its_file(tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(EngineError, match=r"tokenizer.json"):
        Tokens(folder)
