"""The label rule, over every combination."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.destination import Destination
from tokenworks.core.errors import RefusedError
from tokenworks.core.label import Label
from tokenworks.governance.labels import answer_label, cleared, outgoing_label

labels = st.sampled_from(Label)


@given(prompt=labels, model=labels, clearance=labels)
def test_an_answer_is_as_secret_as_all_that_went_into_it_or_is_not_given(
    prompt: Label, model: Label, clearance: Label
) -> None:
    if max(prompt, model) <= clearance:
        assert answer_label(prompt, model, clearance=clearance, name="route") == max(prompt, model)
    else:
        with pytest.raises(RefusedError):
            answer_label(prompt, model, clearance=clearance, name="route")


def test_the_refusal_names_the_model_its_label_and_the_way_out() -> None:
    with pytest.raises(
        RefusedError, match="'route' was trained on restricted data and this key is cleared for internal"
    ):
        answer_label(Label.PUBLIC, Label.RESTRICTED, clearance=Label.INTERNAL, name="route")


def test_a_prompt_above_the_key_is_refused_in_other_words() -> None:
    with pytest.raises(RefusedError, match=r"prompt is declared confidential .* cleared for public"):
        answer_label(Label.CONFIDENTIAL, Label.PUBLIC, clearance=Label.PUBLIC, name="route")


@given(declared=st.none() | labels, accepts=labels, clearance=labels)
def test_nothing_goes_where_its_label_may_not_be_seen(declared: Label | None, accepts: Label, clearance: Label) -> None:
    try:
        counted = outgoing_label(declared, accepts=accepts, clearance=clearance, name="far")
    except RefusedError:
        assert (clearance if declared is None else declared) > accepts
    else:
        assert counted <= accepts
        assert declared is None or counted is declared


def test_undeclared_text_counts_as_the_most_it_could_be_when_it_would_leave() -> None:
    with pytest.raises(RefusedError, match="may see public text at most and this prompt counts as confidential"):
        outgoing_label(None, accepts=Label.PUBLIC, clearance=Label.CONFIDENTIAL, name="far")
    assert outgoing_label(None, accepts=Label.RESTRICTED, clearance=Label.CONFIDENTIAL, name="near") is Label.PUBLIC


@given(label=labels, clearance=labels)
def test_text_goes_only_where_its_label_is_cleared(label: Label, clearance: Label) -> None:
    refusal = cleared(Destination(name="cloud", region="eu", clearance=str(clearance)), label)
    assert (refusal == "") == (label <= clearance)
    assert not refusal or ("cloud" in refusal and str(label) in refusal and str(clearance) in refusal)
