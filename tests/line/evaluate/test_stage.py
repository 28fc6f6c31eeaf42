"""The evaluate stage, asked through an answerer that is a real coroutine over real data, errors and all."""

import asyncio
import json
import math
import threading
from collections import Counter

import msgspec
import numpy as np
import pytest

from tokenworks.core.errors import DataError, EngineError
from tokenworks.core.request import Answer
from tokenworks.core.usage import Usage
from tokenworks.line.evaluate.params import EvaluateParams
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.line.evaluate.stage import evaluate_stage

WORDS = {"billing": "invoice payment bill", "card": "card stolen lost", "login": "password login account"}
TRAIN = [
    {"text": f"my {word} is wrong {i}", "label": label}
    for label in WORDS
    for i, word in enumerate(WORDS[label].split() * 5)
]
GOLD = [
    {"text": f"help with {word} {i}", "label": label}
    for label in WORDS
    for i, word in enumerate(WORDS[label].split() * 4)
]


def jsonl(rows):
    return "\n".join(json.dumps(row) for row in rows).encode()


def evaluate(bench, answer, rows, *, kind="classify", metric="accuracy", train=None, loop=None, inputs=None, **more):
    blobs = {"model": b"a model", "gold": jsonl(rows), **({"train": jsonl(train)} if train else {}), **(inputs or {})}
    digests = {name: bench.artifacts.put_bytes(data) for name, data in blobs.items()}
    params = EvaluateParams(task="t", kind=kind, metric=metric, model_ref="t@1", **more)
    outputs = evaluate_stage(answer, loop=loop).run(digests, params, bench)
    return Evaluation.from_json(bench.artifacts.get_bytes(outputs["evaluation"]))


def saying(body, *, status=200, tokens=0):
    return Answer(request_id="r", status=status, body=body, usage=Usage(completion_tokens=tokens))


def class_of(text):
    return max(WORDS, key=lambda label: sum(word in text for word in WORDS[label].split()))


async def classifier(request):
    await asyncio.sleep(0.001)
    assert request.model == "t@1"
    return saying({"data": [{"index": 0, "label": class_of(request.body["input"]), "probs": []}]})


def chat(text, tokens=3):
    return saying({"choices": [{"message": {"role": "assistant", "content": text}}]}, tokens=tokens)


def test_a_classifier_is_judged_with_intervals_classes_speed_and_baselines(bench):
    report = evaluate(bench, classifier, GOLD, train=TRAIN)
    assert report.headline.value == 1.0
    assert report.headline.low < 1.0
    assert report.headline.n == len(GOLD)
    assert {"accuracy", "macro_f1", "latency_p50_s", "latency_p95_s", "ttft_p95_s", "answers_per_s"} <= set(
        report.figures
    )
    assert set(report.per_class) == {"class:billing", "class:card", "class:login"}
    assert set(report.baselines) == {"majority", "nearest_centroid", "logistic_regression"}
    assert report.baselines["majority"].headline.value == pytest.approx(1 / 3)
    ids = [item.id for item in report.items]
    assert all([item.id for item in other.items] == ids for other in report.baselines.values())
    assert report.best_baseline()[0] in ("nearest_centroid", "logistic_regression")


def test_every_figure_is_finite_and_within_its_interval(bench):
    for figure in evaluate(bench, classifier, GOLD, train=TRAIN).figures.values():
        assert all(math.isfinite(value) for value in (figure.value, figure.low, figure.high)), figure
        assert figure.low <= figure.value <= figure.high, figure
        assert figure.n > 0


def test_a_failed_answer_counts_as_wrong_is_noted_and_is_not_asked_again(bench):
    asked = Counter()

    async def shaky(request):
        asked[request.body["input"]] += 1
        if "card" in request.body["input"]:
            raise ConnectionError("gone")
        if "login" in request.body["input"]:
            return saying({"error": {"message": "overloaded"}}, status=503)
        return await classifier(request)

    report = evaluate(bench, shaky, GOLD, latency_sample=0)
    failed = [item for item in report.items if item.error]
    assert len(failed) == 8
    assert all(item.score == 0 for item in failed)
    assert "8 of 36" in report.notes[0]
    assert "overloaded" in report.notes[0]
    assert set(asked.values()) == {1}


def test_an_answer_of_the_wrong_shape_is_a_failure_and_no_crash(bench):
    async def odd(request):
        if "0" in request.body["input"]:
            return saying({"data": []})
        return await classifier(request)

    report = evaluate(bench, odd, GOLD)
    assert any("no answer in it" in item.error for item in report.items)


def test_a_model_that_answers_nothing_is_no_measurement(bench):
    async def dead(request):
        raise ConnectionError("connection refused")

    with pytest.raises(EngineError, match=r"none of 36 gold items.*connection refused"):
        evaluate(bench, dead, GOLD)


def test_no_more_than_the_concurrency_is_asked_at_once_and_latency_is_taken_alone(bench):
    running, most = 0, []

    async def counting(request):
        nonlocal running
        running += 1
        most.append(running)
        await asyncio.sleep(0.002)
        running -= 1
        return await classifier(request)

    evaluate(bench, counting, GOLD, concurrency=4, latency_sample=10)
    assert max(most[: len(GOLD)]) == 4
    assert max(most[len(GOLD) :]) == 1
    assert len(most) == len(GOLD) + 10


def test_a_larger_gold_set_is_sampled_alike_for_every_model(bench):
    one = evaluate(bench, classifier, GOLD, max_items=10)
    other = evaluate(bench, classifier, list(reversed(GOLD)), max_items=10)
    assert {item.id for item in one.items} == {item.id for item in other.items}
    assert one.headline.n == 10
    assert "10 of 36" in one.notes[0]


def test_an_answerer_that_lives_in_another_loop_is_called_there(bench):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    homes = set()

    async def at_home(request):
        homes.add(asyncio.get_running_loop() is loop)
        return await classifier(request)

    try:
        assert evaluate(bench, at_home, GOLD, loop=loop).headline.value == 1
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert homes == {True}


def conversation(question, answer):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def test_a_chat_model_is_judged_by_its_final_number_beside_the_most_frequent_one(bench):
    gold = [conversation(f"what is {i} + 1?", f"it is <<{i}+1>>\n#### {i + 1}") for i in range(12)]
    train = [conversation("x", "so\n#### 5")] * 3 + [conversation("y", "#### 7")]

    async def adder(request):
        assert request.body["temperature"] == 0
        assert request.body["max_tokens"] == 256
        number = int(request.body["messages"][-1]["content"].split()[2])
        return chat(f"The answer is {number + 1 if number != 3 else 99}")

    report = evaluate(bench, adder, gold, kind="chat", metric="exact_match", train=train)
    assert report.headline.value == pytest.approx(11 / 12)
    assert report.baselines["majority"].headline.value == pytest.approx(1 / 12)
    assert report.figures["tokens_per_s"].value > 0


def test_an_extractor_is_asked_with_its_schema_and_judged_field_by_field(bench):
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    gold = [conversation(f"Ann is {age}", json.dumps({"name": "Ann", "age": age})) for age in range(20, 30)]

    async def half(request):
        assert request.body["response_format"]["json_schema"]["schema"] == schema
        return chat('{"age": 20, "name": "Ann"}')

    report = evaluate(bench, half, gold, kind="extract", metric="json_match", schema=schema)
    assert report.headline.value == pytest.approx(0.1)
    assert report.figures["fields"].value == pytest.approx(0.55)
    assert report.figures["valid"].value == 1


def test_an_embedder_is_judged_by_what_its_vectors_find(bench):
    documents = [{"id": f"d{i}", "text": text} for i, text in enumerate(["red fox", "blue whale", "green frog"] * 20)]
    gold = [{"query": "whale", "relevant": ["d1", "d4"]}, {"query": "frog", "relevant": ["d2"]}]

    async def embedder(request):
        words = ("fox", "whale", "frog")
        rows = [[float(word in text) + 0.01 for word in words] for text in request.body["input"]]
        return saying({"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]})

    blobs = {"documents": jsonl(documents)}
    report = evaluate(bench, embedder, gold, kind="embed", metric="recall@10", inputs=blobs)
    assert report.headline.value == 1
    assert report.baselines["bm25"].headline.value == 1


def test_a_document_that_cannot_be_embedded_ends_the_evaluation(bench):
    async def broken(request):
        return saying({"error": {"message": "too long"}}, status=400)

    blobs = {"documents": jsonl([{"id": "d", "text": "x"}])}
    with pytest.raises(EngineError, match="too long"):
        evaluate(bench, broken, [{"query": "q", "relevant": ["d"]}], kind="embed", metric="recall@10", inputs=blobs)


def test_a_report_survives_the_way_through_json(bench):
    report = evaluate(bench, classifier, GOLD, train=TRAIN)
    assert Evaluation.from_json(report.to_json()) == report
    with pytest.raises(DataError, match="not an evaluation report"):
        Evaluation.from_json(b"{}")
    assert b"help with" not in report.to_json()  # no prompt text is kept
    assert not np.isnan(msgspec.json.decode(report.to_json())["figures"]["accuracy"]["value"])
