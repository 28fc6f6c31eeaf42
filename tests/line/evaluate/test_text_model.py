"""A completion model is judged by its folder for bits per byte, and by asking it for speed."""

import pytest

from tokenworks.core.corpus import write_parts
from tokenworks.core.document import Document
from tokenworks.core.errors import DataError
from tokenworks.core.request import Answer
from tokenworks.core.task import TaskCheck, TaskLimits
from tokenworks.core.usage import Usage
from tokenworks.line.evaluate.gate import decide
from tokenworks.line.evaluate.params import EvaluateParams
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.line.evaluate.stage import evaluate_stage

PARAMS = EvaluateParams(
    task="complete", kind="complete", metric="bits_per_byte", model_ref="complete@1", latency_sample=4
)


def parts(bench, folder, texts):
    documents = [
        Document(path=f"{i}.txt", source="s", sha256="0" * 64, media_type="text/plain", text=t) for i, t in texts
    ]
    write_parts(folder, documents)
    return bench.artifacts.put_folder(folder)


async def completer(request):
    assert request.endpoint == "completions"
    assert request.body["prompt"].startswith("The sky")
    body = {"choices": [{"text": " blue"}]}
    return Answer(request_id="r", status=200, body=body, usage=Usage(completion_tokens=5), latency_s=0.01, ttft_s=0.001)


def test_bits_per_byte_stand_beside_zstd_and_ngrams_on_the_same_documents(bench, tiny_causal, tmp_path):
    sentences = [(i, f"The sky is blue and grass number {i} is green. " * 4) for i in range(12)]
    inputs = {
        "model": bench.artifacts.put_folder(tiny_causal),
        "train": parts(bench, tmp_path / "train", sentences[:8]),
        "held_out": parts(bench, tmp_path / "held", sentences[8:]),
    }
    outputs = evaluate_stage(completer).run(inputs, PARAMS, bench)
    report = Evaluation.from_json(bench.artifacts.get_bytes(outputs["evaluation"]))
    assert [item.id for item in report.items] == ["8.txt", "9.txt", "10.txt", "11.txt"]
    assert report.headline.value > 2  # random weights
    assert report.figures["tokens_per_s"].n == 4
    assert report.figures["ttft_p50_s"].value == pytest.approx(0.001)
    assert len(report.baselines) == 2
    for baseline in report.baselines.values():
        assert [item.id for item in baseline.items] == [item.id for item in report.items]
        assert baseline.headline.value < report.headline.value
    verdict = decide(report, None, check=TaskCheck(), limits=TaskLimits())
    assert verdict.decision == "reject"  # lower is better, and random weights are not lower
    assert verdict.against == f"baseline:{report.best_baseline('lower')[0]}"


def test_no_held_out_document_is_an_error_with_the_way_out(bench, tiny_causal, tmp_path):
    inputs = {"model": bench.artifacts.put_folder(tiny_causal), "held_out": parts(bench, tmp_path / "held", [(0, " ")])}
    with pytest.raises(DataError, match="more documents"):
        evaluate_stage(completer).run(inputs, PARAMS, bench)
