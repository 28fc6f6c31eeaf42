"""What a run asks of models, and as what."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from tokenworks.core.clock import SystemClock
from tokenworks.core.request import Answer, Request
from tokenworks.gateway.platform.evals import KIND, RUN, Eval
from tokenworks.gateway.platform.running import Run, Running
from tokenworks.gateway.releases import CatalogReleases
from tokenworks.store.artifacts import open_artifacts
from tokenworks.store.catalog import open_catalog
from tokenworks.store.nouns import Object

JUDGE = {
    "type": "score_model",
    "name": "good",
    "model": "judge",
    "input": [{"role": "user", "content": "How good is {{ sample.output_text }}?"}],
}
SOURCE = {
    "type": "completions",
    "model": "writer",
    "source": {"type": "file_content", "content": [{"item": {"question": "a?"}}]},
    "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{ item.question }}"}]},
}


async def test_a_judge_is_told_an_answer_under_the_label_that_its_model_gave_it(tmp_path: Path) -> None:
    catalog = open_catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    artifacts = open_artifacts(str(tmp_path / "artifacts"), cache=tmp_path / "cache")
    labels: dict[str, str] = {}

    async def answer(request: Request) -> Answer:
        """Answer as a writer of internal knowledge does, and a judge."""
        labels[request.model] = request.label
        choice = {"message": {"content": "1"}, "finish_reason": "stop"}
        return Answer(request_id="r", status=200, body={"choices": [choice]}, label="internal")

    releases = CatalogReleases(catalog.releases, catalog.models)
    running = Running(catalog.objects, artifacts, releases, answer, clock=SystemClock(), concurrency=1)
    made = Eval(name="e", item_schema={}, include_sample_schema=True, testing_criteria=[JUDGE], metadata={})
    run = Run(
        eval_id="eval-1", name="r", model="writer", data_source=SOURCE, metadata={}, tenant="t", key_id="k",
        data_label="public", label="internal",
    )  # fmt: skip
    for kind, id, scope, body in ((KIND, "eval-1", "t", made), (RUN, "evalrun-1", "eval-1", run)):
        catalog.objects.add(Object(kind=kind, id=id, scope=scope, body=msgspec.to_builtins(body), created_at=1.0))
    running.begin("evalrun-1")
    async with asyncio.timeout(30):
        while (found := catalog.objects.get(RUN, "evalrun-1")) is None or found.body["status"] != "completed":
            await asyncio.sleep(0.02)
    await running.close()
    catalog.close()
    assert found.body["counts"]["passed"] == 1
    assert labels == {"writer": "public", "judge": "internal"}
