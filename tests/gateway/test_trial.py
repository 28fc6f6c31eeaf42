"""A version on trial: who is answered by it, what happens when it cannot, and what its shadow leaves behind."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.ids import pseudonym
from tokenworks.core.label import Label
from tokenworks.core.model import ModelVersion, Release
from tokenworks.gateway.served import OnTrial, Served
from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import RequestEntry

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import House

SERVED = Served(ref="m@2", label="internal", kind="classify")


def on_trial(share: float, id: str = "t1") -> OnTrial:
    return OnTrial(id=id, candidate=SERVED, share=share, mode="canary")


@given(share=st.floats(0.01, 0.99), unit=st.text(min_size=1))
def test_a_user_is_always_on_the_same_side_of_one_trial(share, unit):
    assert on_trial(share).takes(unit) == on_trial(share).takes(unit)


@given(low=st.floats(0.01, 0.99), high=st.floats(0.01, 0.99), unit=st.text(min_size=1))
def test_a_larger_share_only_adds_users(low, high, unit):
    low, high = sorted((low, high))
    assert on_trial(high).takes(unit) >= on_trial(low).takes(unit)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_share_is_kept_and_trials_are_independent(share):
    users = [f"user-{number}" for number in range(20_000)]
    first = [on_trial(share, "t1").takes(user) for user in users]
    second = [on_trial(share, "t2").takes(user) for user in users]
    bound = 5 * (share * (1 - share) / len(users)) ** 0.5
    assert abs(sum(first) / len(users) - share) < bound
    both = sum(a and b for a, b in zip(first, second, strict=True)) / len(users)
    assert abs(both - share**2) < bound


class Trial:
    """Alias `tried`, answered by version 1, with version 2 on trial."""

    def __init__(self, house: House) -> None:
        self.house, self.number = house, 0

    def version(self, folder: Path | None, label: str = "internal") -> int:
        about = {"licence": "", "owner": "mailto:a@example.org", "base": "", "stage_key": "", "evaluation": ""}
        digest = f"{len(self.house.catalog.models.of('tried')) + 1:064d}"
        made = self.house.catalog.models.add(
            ModelVersion(model="tried", version=0, folder=digest, kind="classify", label=label, **about)
        )
        if folder is not None:
            self.house._folders[made.ref] = folder
            self.house.run(self.house.pool.ready(made.ref))
        return made.version

    def begin(self, version: int, share: float, mode: str = "canary") -> None:
        self.number += 1
        release = Release(
            id=f"trial-{time.time_ns()}", alias="tried", model="tried", version=1, action="canary", reason="", by="",
            at=time.time(), canary=version, share=share, mode=mode,
        )  # fmt: skip
        self.house.catalog.releases.apply(release)
        self.house.releases.forget()

    def ask(self, user: str, secret: str | None = None, **body: object):
        asked = {"model": "tried", "input": "a card was lost", "user": user} | body
        answer = self.house.http(secret).post("/classify", json=asked)
        assert answer.status_code == 200, answer.text
        return answer

    def entry(self, answer) -> RequestEntry:
        return self.house.entry(answer.headers["x-request-id"])


@pytest.fixture(scope="module")
def trial(house: House, tiny_classifier: Path) -> Trial:
    made = Trial(house)
    assert made.version(tiny_classifier) == 1
    house.catalog.releases.apply(
        Release(id="tried-1", alias="tried", model="tried", version=1, action="promote", reason="", by="", at=1.0)
    )
    return made


def test_users_are_divided_and_each_stays_where_it_is(trial, tiny_classifier):
    second = trial.version(tiny_classifier)
    trial.begin(second, 0.5)
    sides = {}
    for number in range(24):
        answers = [trial.ask(f"user-{number}") for _ in range(2)]
        versions = {answer.headers["x-tokenworks-version"] for answer in answers}
        assert len(versions) == 1
        entry = trial.entry(answers[0])
        assert entry.user == pseudonym("default", f"user-{number}")
        sides.setdefault(entry.arm, set()).update(versions)
    assert sides == {"incumbent": {"tried@1"}, "canary": {f"tried@{second}"}}


def test_without_a_user_each_request_is_drawn_for_itself(trial, tiny_classifier):
    trial.begin(trial.version(tiny_classifier), 0.5)
    arms = {trial.entry(trial.ask("")).arm for _ in range(24)}
    assert arms == {"incumbent", "canary"}


def test_a_canary_that_cannot_answer_costs_no_user_anything_and_is_written_down(trial):
    broken = trial.version(None)
    trial.begin(broken, 0.99)
    answers = [trial.ask(f"user-{number}") for number in range(8)]
    assert {answer.headers["x-tokenworks-version"] for answer in answers} == {"tried@1"}
    failed = [e for e in trial.house.entries() if isinstance(e, RequestEntry) and e.version == f"tried@{broken}"]
    assert failed
    assert {(entry.arm, entry.outcome) for entry in failed} == {("canary", "failed")}
    rescued = trial.house.entry(failed[0].request_id.removesuffix("-canary"))
    assert (rescued.arm, rescued.outcome, rescued.version) == ("", "ok", "tried@1")


def test_a_canary_that_answers_with_nan_or_cannot_do_what_is_asked_costs_no_user_anything(
    trial, tiny_classifier, tiny_bert, tmp_path
):
    from safetensors.numpy import load_file, save_file

    nan = tmp_path / "nan"
    shutil.copytree(tiny_classifier, nan)
    head = load_file(nan / "head.safetensors")
    save_file({**head, "bias": head["bias"] * np.nan}, nan / "head.safetensors")
    for folder, status in ((nan, 500), (tiny_bert, 404)):
        trial.begin(version := trial.version(folder), 0.99)
        answers = [trial.ask(f"user-{number}") for number in range(4)]
        assert {answer.headers["x-tokenworks-version"] for answer in answers} == {"tried@1"}
        assert all(abs(sum(answer.json()["data"][0]["probs"]) - 1) < 1e-3 for answer in answers)
        failed = [e for e in trial.house.entries() if isinstance(e, RequestEntry) and e.version == f"tried@{version}"]
        assert {(entry.arm, entry.outcome, entry.status) for entry in failed} == {("canary", "failed", status)}


def test_a_stream_that_a_canary_cannot_begin_is_the_incumbents(trial, tiny_llama, tiny_bert):
    house = trial.house
    house._folders |= {"told@1": tiny_llama, "told@2": tiny_bert}
    house.run(house.pool.ready(house.release("told")))
    first = house.catalog.models.get("told", 1)
    house.catalog.models.add(msgspec.structs.replace(first, version=0, folder="2" * 64))
    house.run(house.pool.ready("told@2"))
    house.catalog.releases.apply(
        Release(
            id="told-2", alias="told", model="told", version=1, action="canary", reason="", by="", at=time.time(),
            canary=2, share=0.99, mode="canary",
        )
    )  # fmt: skip
    house.releases.forget()
    asked = {"model": "told", "prompt": "how", "max_tokens": 4, "stream": True, "user": "kim"}
    answer = house.http().post("/v1/completions", json=asked)
    assert answer.headers["x-tokenworks-version"] == "told@1"
    assert answer.text.endswith("data: [DONE]\n\n")
    failed = house.entry(answer.headers["x-request-id"] + "-canary")
    assert (failed.arm, failed.outcome, failed.version) == ("canary", "failed", "told@2")


def test_a_shadow_answers_beside_and_is_shown_to_nobody(trial, tiny_classifier):
    second = trial.version(tiny_classifier)
    trial.begin(second, 0.99, "shadow")
    answers = [trial.ask(f"user-{number}") for number in range(6)]
    assert {answer.headers["x-tokenworks-version"] for answer in answers} == {"tried@1"}
    shadow = trial.house.entry(answers[0].headers["x-request-id"] + "-shadow")
    assert (shadow.arm, shadow.version, shadow.outcome) == ("shadow", f"tried@{second}", "ok")
    assert trial.entry(answers[0]).arm == "incumbent"
    assert trial.house.bodies.get(named(shadow.tenant, shadow.request_id)) is not None


def test_who_may_not_see_what_the_candidate_learned_from_is_no_part_of_the_trial(trial, tiny_classifier):
    trial.begin(trial.version(tiny_classifier, label="restricted"), 0.99)
    secret, _ = trial.house.keys.create("default", clearance=Label.INTERNAL)
    answer = trial.ask("somebody", secret)
    assert answer.headers["x-tokenworks-version"] == "tried@1"
    assert trial.entry(answer).arm == ""


@pytest.mark.parametrize("how", [{"store": False}, {}])
def test_what_may_not_be_learned_from_is_marked_and_its_text_is_not_kept(trial, how):
    if how:
        answer = trial.ask("kim", **how)
    else:
        secret, _ = trial.house.keys.create("default", scopes=("infer",))
        answer = trial.ask("kim", secret)
    entry = trial.entry(answer)
    assert not entry.learn
    assert trial.house.bodies.get(named(entry.tenant, entry.request_id)) is None
    assert trial.entry(trial.ask("kim")).learn


def test_a_conversation_is_known_by_a_pseudonym(trial):
    asked = {"model": "tried", "input": "money", "metadata": {"conversation": "ticket 7"}}
    from_body = trial.house.http().post("/classify", json=asked)
    headers = {"x-tokenworks-conversation": "ticket 7"}
    from_header = trial.house.http().post("/classify", json={"model": "tried", "input": "money"}, headers=headers)
    found = {trial.entry(answer).conversation for answer in (from_body, from_header)}
    assert found == {pseudonym("default", "ticket 7")}
