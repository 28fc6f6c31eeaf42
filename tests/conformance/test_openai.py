"""OpenAI's official Python client, synchronous and asynchronous, on every endpoint that there is."""

from __future__ import annotations

import asyncio
import base64
import json
import struct

import openai
import pytest
from pydantic import BaseModel

from conformance.asking import Entered, done, each, everything
from conformance.served import TEXTS
from tokenworks.governance.keys import SHOWN

pytestmark = [pytest.mark.xdist_group("conformance"), pytest.mark.timeout(120)]
USER = [{"role": "user", "content": "a card was lost"}]
FEW = {"max_tokens": 8, "temperature": 0}
BRIEF = {"input": "a card was lost", "max_output_tokens": 8, "temperature": 0}
on = pytest.mark.conforms


@on("models")
async def test_models_are_listed_and_found_by_name(served, client):
    names = [model.id async for model in each(client.models.list())]
    assert {served.embedder, served.writer} <= set(names)
    model = await done(client.models.retrieve(served.writer))
    assert (model.id, model.object, model.owned_by) == (served.writer, "model", model.owned_by)
    with pytest.raises(openai.NotFoundError) as missing:
        await done(client.models.retrieve("nothing"))
    assert missing.value.code == "model_not_found"


@on("chat completions")
async def test_a_chat_is_answered(served, client):
    answer = await done(client.chat.completions.create(model=served.writer, messages=USER, seed=1, **FEW))
    [choice] = answer.choices
    assert (answer.object, choice.message.role, choice.index) == ("chat.completion", "assistant", 0)
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens <= 8


@on("chat completions")
async def test_a_streamed_chat_says_what_the_whole_one_says(served, client):
    asked = {"model": served.writer, "messages": USER, **FEW}
    whole = await done(client.chat.completions.create(**asked))
    stream = await done(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **asked))
    chunks = await everything(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1


@on("chat completions")
async def test_the_helper_for_streams_gathers_the_same_answer(served, client):
    asked = {"model": served.writer, "messages": USER, **FEW}
    text = (await done(client.chat.completions.create(**asked))).choices[0].message.content
    asked["stop"] = text[len(text) // 2 :]  # the helper raises on answers that are cut off
    whole = await done(client.chat.completions.create(**asked))
    async with Entered(client.chat.completions.stream(**asked)) as stream:
        events = await everything(stream)
        final = await done(stream.get_final_completion())
    assert {"chunk", "content.delta", "content.done"} <= {event.type for event in events}
    assert final.choices[0].message.content == whole.choices[0].message.content


class Call(BaseModel):
    urgent: bool


@on("chat completions")
async def test_an_answer_is_parsed_into_the_type_that_was_asked_for(served, client):
    answer = await done(
        client.chat.completions.parse(
            model=served.writer, messages=USER, response_format=Call, max_tokens=2000, temperature=1, seed=1
        )
    )
    assert isinstance(answer.choices[0].message.parsed.urgent, bool)


@on("chat completions")
async def test_choices_log_probabilities_and_stops_are_those_asked_for(served, client):
    more = {"n": 2, "logprobs": True, "max_tokens": 3, "temperature": 1, "seed": 1}
    answer = await done(client.chat.completions.create(model=served.writer, messages=USER, **more))
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert [len(choice.logprobs.content) for choice in answer.choices] == [
        len([token for token in choice.logprobs.content if token.logprob <= 0]) for choice in answer.choices
    ]


@on("chat completions")
async def test_what_no_engine_here_does_is_refused_by_name(served, client):
    for more, param in [({"audio": {"voice": "x", "format": "wav"}}, "audio"), ({"verbosity": "low"}, "verbosity")]:
        with pytest.raises(openai.BadRequestError) as refused:
            await done(client.chat.completions.create(model=served.writer, messages=USER, **more))
        assert (refused.value.param, refused.value.type) == (param, "invalid_request_error")


@on("completions")
async def test_completions_are_whole_several_and_streamed(served, client):
    asked = {"model": served.writer, "prompt": ["a card", "the mail"], **FEW}
    whole = await done(client.completions.create(**asked))
    assert [choice.index for choice in whole.choices] == [0, 1]
    texts = ["", ""]
    async for chunk in each(await done(client.completions.create(stream=True, **asked))):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]


@on("responses")
async def test_a_response_is_kept_listed_and_deleted(served, client):
    said = await done(client.responses.create(model=served.writer, instructions="be brief", **BRIEF))
    assert (said.object, said.status) == ("response", "incomplete")
    assert said.output_text
    again = await done(client.responses.retrieve(said.id))
    assert again.model_dump() == said.model_dump()
    items = [item async for item in each(client.responses.input_items.list(said.id))]
    assert [item.content[0].text for item in items] == ["a card was lost"]
    await done(client.responses.delete(said.id))
    with pytest.raises(openai.NotFoundError):
        await done(client.responses.retrieve(said.id))


@on("responses")
async def test_a_response_goes_on_from_the_last(served, client):
    first = await done(client.responses.create(model=served.writer, **BRIEF))
    more = {**BRIEF, "input": "and then?"}
    second = await done(client.responses.create(model=served.writer, previous_response_id=first.id, **more))
    assert second.previous_response_id == first.id
    items = [item async for item in each(client.responses.input_items.list(second.id, order="asc"))]
    assert [item.role for item in items] == ["user", "assistant", "user"]
    assert items[1].content[0].text == first.output_text


@on("responses")
async def test_the_events_of_a_response_are_numbered_and_complete(served, client):
    whole = await done(client.responses.create(model=served.writer, **BRIEF))
    events = await everything(await done(client.responses.create(model=served.writer, stream=True, **BRIEF)))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.incomplete")
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == events[-1].response.output_text == whole.output_text


@on("responses")
async def test_a_background_response_is_queued_answered_and_deleted(served, client):
    said = await done(client.responses.create(model=served.writer, background=True, **BRIEF))
    assert (said.status, said.background, said.output) == ("queued", True, [])
    while (found := await done(client.responses.retrieve(said.id))).status in ("queued", "in_progress"):
        await asyncio.sleep(0.02)
    whole = await done(client.responses.create(model=served.writer, **BRIEF))
    assert (found.id, found.status, found.output_text) == (said.id, "incomplete", whole.output_text)
    await done(client.responses.delete(said.id))
    with pytest.raises(openai.NotFoundError):
        await done(client.responses.retrieve(said.id))


@on("responses")
async def test_a_background_response_is_cancelled_and_no_other_can_be(served, client):
    long = {**BRIEF, "max_output_tokens": 200}
    said = await done(client.responses.create(model=served.writer, background=True, **long))
    stopped = await done(client.responses.cancel(said.id))
    assert (stopped.id, stopped.status) == (said.id, "cancelled")
    assert (await done(client.responses.retrieve(said.id))).status == "cancelled"
    waited_for = await done(client.responses.create(model=served.writer, **BRIEF))
    with pytest.raises(openai.BadRequestError, match="background: true"):
        await done(client.responses.cancel(waited_for.id))


@on("responses")
async def test_a_response_is_parsed_into_the_type_that_was_asked_for(served, client):
    asked = {"model": served.writer, "input": "a card was lost", "text_format": Call, "temperature": 1}
    said = await done(client.responses.parse(**asked))
    assert (said.status, isinstance(said.output_parsed.urgent, bool)) == ("completed", True)
    async with Entered(client.responses.stream(**asked)) as stream:
        await everything(stream)
        final = await done(stream.get_final_response())
    assert isinstance(final.output_parsed.urgent, bool)


@on("embeddings")
async def test_embeddings_are_the_same_as_floats_and_in_base64(served, client):
    asked = {"model": served.embedder, "input": ["a card", "the mail"]}
    plain = await done(client.embeddings.create(**asked))  # the client itself asks for base64
    floats = await done(client.embeddings.create(encoding_format="float", **asked))
    packed = await done(client.embeddings.create(encoding_format="base64", **asked))
    for place in (0, 1):
        vector = floats.data[place].embedding
        assert plain.data[place].embedding == pytest.approx(vector, abs=1e-6)
        raw = packed.data[place].embedding
        assert struct.unpack(f"<{len(vector)}f", base64.b64decode(raw)) == pytest.approx(vector, abs=1e-6)
    assert floats.usage.prompt_tokens == floats.usage.total_tokens > 0


@on("embeddings")
async def test_embeddings_can_be_shorter(served, client):
    asked = {"model": served.embedder, "input": "a card", "encoding_format": "float"}
    whole = (await done(client.embeddings.create(**asked))).data[0].embedding
    short = (await done(client.embeddings.create(dimensions=8, **asked))).data[0].embedding
    length = sum(value * value for value in whole[:8]) ** 0.5
    assert short == pytest.approx([value / length for value in whole[:8]], abs=1e-5)
    with pytest.raises(openai.BadRequestError):
        await done(client.embeddings.create(dimensions=100_000, **asked))


@on("moderations")
async def test_personal_data_is_found(client):
    found = await done(client.moderations.create(input=["write to anna@klinik-nord.de", "good morning"]))
    assert [one.flagged for one in found.results] == [True, False]


@on("files")
async def test_a_file_is_kept_listed_read_and_deleted(client):
    data = b'{"item": {"q": "a"}}\n'
    file = await done(client.files.create(file=("rows.jsonl", data), purpose="evals"))
    assert (file.bytes, file.filename, file.purpose) == (len(data), "rows.jsonl", "evals")
    assert file.id in [one.id async for one in each(client.files.list(purpose="evals"))]
    assert (await done(client.files.retrieve(file.id))).id == file.id
    assert (await done(client.files.content(file.id))).content == data
    assert (await done(client.files.delete(file.id))).deleted
    with pytest.raises(openai.NotFoundError):
        await done(client.files.retrieve(file.id))


@on("batches")
async def test_a_batch_is_run_and_its_answers_are_a_file(served, client):
    body = {"model": served.writer, "messages": USER, **FEW}
    rows = [{"custom_id": f"row-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body} for n in range(3)]
    data = "\n".join(map(json.dumps, rows)).encode()
    file = await done(client.files.create(file=("batch.jsonl", data), purpose="batch"))
    batch = await done(
        client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    )
    assert batch.id in [one.id async for one in each(client.batches.list())]
    while batch.status not in ("completed", "failed"):
        await asyncio.sleep(0.1)
        batch = await done(client.batches.retrieve(batch.id))
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 3, "failed": 0}
    answers = (await done(client.files.content(batch.output_file_id))).text.splitlines()
    assert sorted(json.loads(line)["custom_id"] for line in answers) == ["row-0", "row-1", "row-2"]
    with pytest.raises(openai.BadRequestError):
        await done(client.batches.cancel(batch.id))


@on("fine-tuning jobs")
async def test_jobs_are_listed_and_what_cannot_be_tuned_is_refused(served, client):
    assert [job async for job in each(client.fine_tuning.jobs.list())] == []
    with pytest.raises(openai.NotFoundError, match="file-none"):
        await done(client.fine_tuning.jobs.create(model=served.writer, training_file="file-none"))
    with pytest.raises(openai.NotFoundError):
        await done(client.fine_tuning.jobs.retrieve("ftjob-none"))


@on("evals")
async def test_an_eval_is_made_run_and_read(client):
    config = {
        "type": "custom",
        "item_schema": {"type": "object", "properties": {"right": {"type": "string"}}, "required": ["right"]},
        "include_sample_schema": True,
    }
    equal = {
        "type": "string_check",
        "name": "equal",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.right }}",
        "operation": "eq",
    }
    rows = [{"item": {"right": "yes"}, "sample": {"output_text": said}} for said in ("yes", "no")]
    made = await done(client.evals.create(data_source_config=config, testing_criteria=[equal], name="one"))
    assert made.id in [one.id async for one in each(client.evals.list())]
    source = {"type": "jsonl", "source": {"type": "file_content", "content": rows}}
    run = await done(client.evals.runs.create(made.id, data_source=source))
    while run.status not in ("completed", "failed"):
        await asyncio.sleep(0.1)
        run = await done(client.evals.runs.retrieve(run.id, eval_id=made.id))
    assert (run.result_counts.passed, run.result_counts.failed) == (1, 1)
    items = [item async for item in each(client.evals.runs.output_items.list(run.id, eval_id=made.id))]
    assert [item.status for item in items] == ["pass", "fail"]
    assert (await done(client.evals.delete(made.id))).deleted


@on("vector store search")
async def test_documents_are_found(client):
    found = [hit async for hit in each(client.vector_stores.search("documents", query="lost card"))]
    assert found[0].filename == "cards.md"
    assert found[0].content[0].text == TEXTS["cards.md"]
    with pytest.raises(openai.NotFoundError):
        await done(client.vector_stores.search("nothing", query="lost card"))


@on("request ids")
async def test_every_answer_names_the_one_entry_on_the_ledger(served, client):
    raw = await done(client.chat.completions.with_raw_response.create(model=served.writer, messages=USER, **FEW))
    usage = raw.parse().usage
    [entry] = [one for one in served.requests() if one.request_id == raw.headers["x-request-id"]]
    assert (entry.outcome, entry.key_id) == ("ok", served.key[:SHOWN])
    assert (entry.prompt_tokens, entry.completion_tokens) == (
        usage.prompt_tokens,
        usage.completion_tokens,
    )
