"""What holds whatever people ask and say."""

from __future__ import annotations

import random
import tempfile
from io import BytesIO
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.select.home import WORDS, examples, question
from tokenworks.core.label import Label
from tokenworks.core.stage import Bench
from tokenworks.flywheel.select import caps
from tokenworks.flywheel.select.signals import Collected, Given, Signal
from tokenworks.flywheel.select.stage import SELECT, SelectParams
from tokenworks.store.artifacts import open_artifacts

LABELS = ("public", "internal", "confidential")
LINES = msgspec.json.Encoder().encode_lines


@st.composite
def traffic(draw: st.DrawFn) -> list[Signal]:
    """Signals of a few people, honest and not, with texts that repeat."""
    rng = random.Random(draw(st.integers(0, 999)))
    count, users = draw(st.integers(0, 60)), draw(st.integers(1, 12))
    pusher = draw(st.booleans())
    signals = []
    for number in range(count):
        label = rng.choice(sorted(WORDS))
        user = f"u{rng.randrange(users)}"
        right = "access" if pusher and user == "u0" else label if rng.random() < 0.8 else rng.choice(sorted(WORDS))
        signals.append(
            Signal(
                request_id=f"req-{number}",
                at=1000.0 + number,
                principal=f"key/{user}",
                user=user if rng.random() < 0.9 else "",
                conversation=f"c{rng.randrange(9)}" if rng.random() < 0.3 else "",
                label=rng.choice(LABELS),
                text=question(label, rng) if rng.random() < 0.9 else f"again {label}",
                answer=rng.choice(sorted(WORDS)),
                confidence=round(rng.random(), 3),
                feedback=_feedback(rng, number, f"key/{user}", right),
            )
        )
    return signals


def _feedback(rng: random.Random, number: int, principal: str, right: str) -> tuple[Given, ...]:
    if rng.random() < 0.1:
        return ()
    entry = Given(feedback_id=f"fb-{number}", at=2000.0 + number, principal=principal)
    praise = rng.random() < 0.2
    return (msgspec.structs.replace(entry, **({"rating": 1} if praise else {"correction": right})),)


class Selecting:
    """Runs the stage over signals."""

    def __init__(self, folder: Path) -> None:
        self.artifacts = open_artifacts(str(folder / "artifacts"), cache=folder / "cache")
        self.bench = Bench(self.artifacts, folder, folder)
        self.earlier = self.artifacts.put_bytes(LINES(examples(20)))
        gold = [{"text": "again billing", "label": "billing"}, *examples(3, seed=7)]
        self.gold = self.artifacts.put_bytes(LINES(gold))

    def __call__(self, signals: list[Signal], **params) -> dict:
        file = BytesIO()
        head = Collected(
            task="t", until=0, requests=0, feedback=0, unknown=0, set_aside={}, label="public", principals=0
        )
        file.write(LINES([head, *signals]))
        inputs = {"signals": self.artifacts.put_bytes(file.getvalue()), "earlier": self.earlier, "eval:gold": self.gold}
        outputs = SELECT.run(inputs, SelectParams(task="t", kind="classify", **params), self.bench)
        rows = {
            name: [msgspec.json.decode(line) for line in self.artifacts.get_bytes(digest).splitlines()]
            for name, digest in outputs.items()
        }
        return {**rows, "report": rows["report"][0], "digests": dict(outputs)}


@settings(max_examples=20, deadline=None)
@given(signals=traffic(), seed=st.integers(0, 9), most=st.integers(1, 80))
def test_every_selection_keeps_its_promises(signals: list[Signal], seed: int, most: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = Selecting(Path(folder))(signals, seed=seed, most=most)
    report, learned = found["report"], found["train"] + found["fresh"]
    names = [row["request_id"] for row in learned]
    held = {row["request_id"] for row in found["quarantine"]}
    by_request = {signal.request_id: signal for signal in signals}

    assert len(names) == len(set(names)), "a row in two parts"
    assert not {row["group"] for row in found["train"]} & {row["group"] for row in found["fresh"]}
    assert not set(names) & held, "a quarantined row is learned"
    assert not {row["text"] for row in learned} & {row["text"] for row in found["unlabelled"]}
    assert "again billing" not in {row["text"] for row in learned + found["unlabelled"]}, "an evaluation item"
    assert len(learned) <= most
    assert report["rows"] == len(learned) + sum(report["set_aside"].values()) + report["quarantined"]

    counts = caps.per_principal([_Named(by_request[name].feedback[0].principal) for name in names])
    assert max(counts.values(), default=0) <= report["cap"]
    assert report["cap"] <= max(caps.FLOOR, report["share"] * len(learned) + 1e-9)

    used = [*names, *(row["request_id"] for row in found["unlabelled"])]
    assert set(used) == {row["request_id"] for row in found["members"]}
    assert report["label"] == str(max((Label.parse(by_request[name].label) for name in used), default=Label.PUBLIC))


class _Named:
    def __init__(self, principal: str) -> None:
        self.principal = principal


@settings(max_examples=8, deadline=None)
@given(signals=traffic(), order=st.randoms(use_true_random=False))
def test_the_order_of_the_signals_changes_nothing(signals: list[Signal], order: random.Random) -> None:
    shuffled = list(signals)
    order.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as folder:
        select = Selecting(Path(folder))
        assert select(signals)["digests"] == select(shuffled)["digests"]


@settings(max_examples=8, deadline=None)
@given(signals=traffic(), later=traffic())
def test_more_traffic_never_moves_a_conversation_from_fresh_to_train(
    signals: list[Signal], later: list[Signal]
) -> None:
    grown = [
        msgspec.structs.replace(signal, request_id=f"later-{signal.request_id}", at=signal.at + 9000)
        for signal in later
    ]
    with tempfile.TemporaryDirectory() as folder:
        select = Selecting(Path(folder))
        before, after = select(signals), select(signals + grown)
    fresh = {row["group"] for row in before["fresh"] if row["group"].startswith("conversation")}
    assert not fresh & {row["group"] for row in after["train"]}
