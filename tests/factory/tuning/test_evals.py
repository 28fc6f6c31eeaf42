"""Evals, their runs and output items, by the official client on a real server."""

import openai
import pytest

from factory.platform_house import lines, name_of
from patience import until

SCHEMA = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["question", "answer"],
}
EQUAL = {
    "type": "string_check",
    "name": "equal",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}
ALIKE = {
    "type": "text_similarity",
    "name": "alike",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
    "pass_threshold": 0.5,
}
ROWS = [
    {"item": {"question": "a?", "answer": "yes"}, "sample": {"output_text": "yes"}},
    {"item": {"question": "b?", "answer": "yes"}, "sample": {"output_text": "yeah"}},
    {"item": {"question": "c?", "answer": "yes"}, "sample": {"output_text": "no"}},
]


def config(schema=SCHEMA):
    return {"type": "custom", "item_schema": schema, "include_sample_schema": True}


def make(client, criteria, **more):
    return client.evals.create(data_source_config=config(), testing_criteria=criteria, **more)


def finished(client, run):
    over = ("completed", "failed", "canceled")
    return until(lambda: (found := client.evals.runs.retrieve(run.id, eval_id=run.eval_id)).status in over and found)


def inline(rows):
    return {"type": "jsonl", "source": {"type": "file_content", "content": rows}}


def completions(model, rows, **more):
    template = [{"role": "user", "content": "{{ item.question }}"}]
    return {
        "type": "completions",
        "model": model,
        "source": {"type": "file_content", "content": rows},
        "input_messages": {"type": "template", "template": template},
        **more,
    }


def test_answers_that_are_brought_along_are_judged(server):
    client = server.client()
    made = make(client, [EQUAL, ALIKE], name="brought")
    run = finished(client, client.evals.runs.create(made.id, data_source=inline(ROWS)))
    assert (run.status, run.error) == ("completed", None)
    assert run.result_counts.model_dump() == {"total": 3, "errored": 0, "failed": 2, "passed": 1}
    told = {one.testing_criteria: (one.passed, one.failed) for one in run.per_testing_criteria_results}
    assert told == {"equal": (1, 2), "alike": (2, 1)}
    items = client.evals.runs.output_items.list(run.id, eval_id=made.id).data
    assert [one.status for one in items] == ["pass", "fail", "fail"]
    assert [one.datasource_item["question"] for one in items] == ["a?", "b?", "c?"]
    one = client.evals.runs.output_items.retrieve(items[1].id, eval_id=made.id, run_id=run.id)
    assert {result.name: result.passed for result in one.results} == {"equal": False, "alike": True}
    failed = client.evals.runs.output_items.list(run.id, eval_id=made.id, status="failed", limit=1)
    assert [one.id for one in failed.data] == [items[1].id]
    assert failed.has_more


def test_a_model_is_asked_about_the_rows_of_a_file(server):
    client = server.client()
    model = name_of(server, "llama")
    rows = [{"item": one["item"]} for one in ROWS]
    file = client.files.create(file=("rows.jsonl", lines(rows)), purpose="evals")
    made = make(client, [{**EQUAL, "operation": "ne"}])
    source = completions(model, rows, sampling_params={"max_completion_tokens": 4, "temperature": 0})
    source["source"] = {"type": "file_id", "id": file.id}
    run = finished(client, client.evals.runs.create(made.id, data_source=source))
    assert (run.status, run.error) == ("completed", None)
    assert run.result_counts.passed == 3
    [usage] = run.per_model_usage
    assert usage.model_name == f"{model}@1"
    assert usage.invocation_count == 3
    assert usage.completion_tokens > 0
    asked = [entry for entry in server.requests() if entry.model == model]
    assert len([entry for entry in asked if entry.outcome == "ok"]) == 3
    assert {(entry.tenant, entry.learn) for entry in asked} == {("default", False)}


def test_evals_are_listed_renamed_and_deleted(server):
    client = server.client()
    made = make(client, [EQUAL], name="one", metadata={"team": "a"})
    changed = client.evals.update(made.id, name="two")
    assert (changed.name, changed.metadata) == ("two", {"team": "a"})
    assert made.id in [one.id for one in client.evals.list()]
    run = finished(client, client.evals.runs.create(made.id, data_source=inline(ROWS), name="first"))
    assert [one.name for one in client.evals.runs.list(made.id)] == ["first"]
    assert client.evals.runs.delete(run.id, eval_id=made.id).deleted
    assert client.evals.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.evals.retrieve(made.id)


def test_another_tenant_sees_nothing(server):
    client = server.client()
    made = make(client, [EQUAL])
    other = server.client(server.new_key("rival", scopes=["infer", "evals", "files", "tune"]))
    with pytest.raises(openai.NotFoundError):
        other.evals.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        other.evals.runs.create(made.id, data_source=inline(ROWS))
    assert other.evals.list().data == []


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        ({"type": "python", "name": "p", "source": "def grade(s, i): return 1"}, "python criteria are refused"),
        ({**ALIKE, "evaluation_metric": "meteor"}, "'meteor' is not computed here"),
        ({**EQUAL, "reference": "{{ item.answer | upper }}"}, "is not understood"),
        ({**EQUAL, "operator": "eq"}, "unknown field 'operator'"),
        ({"type": "nonsense", "name": "n"}, "must be one of string_check"),
    ],
)
def test_criteria_that_cannot_be_meant_are_refused_by_name(server, criterion, words):
    with pytest.raises(openai.BadRequestError) as refusal:
        make(server.client(), [criterion])
    assert words in refusal.value.message
    assert refusal.value.param.startswith("testing_criteria[0]")


def test_rows_that_break_the_schema_fail_the_run_with_their_line(server):
    client = server.client()
    made = make(client, [EQUAL])
    bad = [ROWS[0], {"item": {"question": "only"}}]
    run = finished(client, client.evals.runs.create(made.id, data_source=inline(bad)))
    assert run.status == "failed"
    assert "line 2" in run.error.message
    assert "'answer' is a required property" in run.error.message


def test_a_revoked_key_ends_its_runs(server):
    key = server.new_key("short", scopes=["infer", "evals"])
    client = server.client(key)
    made = make(client, [{**EQUAL, "operation": "ne"}])
    rows = [{"item": {"question": f"{number}?", "answer": "x"}} for number in range(60)]
    source = completions(name_of(server, "llama"), rows, sampling_params={"max_completion_tokens": 16})
    run = client.evals.runs.create(made.id, data_source=source)
    server.revoke(key)  # while the run is under way
    other = server.client(server.new_key("short", scopes=["evals"]))
    ended = finished(other, run)
    assert ended.status == "failed"
    assert "was revoked" in ended.error.message


def test_a_killed_server_goes_on_with_its_runs(server):
    client = server.client()
    made = make(client, [{**EQUAL, "operation": "ne"}])
    rows = [{"item": {"question": f"{number}?", "answer": "x"}} for number in range(60)]
    source = completions(name_of(server, "llama"), rows, sampling_params={"max_completion_tokens": 16})
    run = client.evals.runs.create(made.id, data_source=source)
    until(lambda: client.evals.runs.output_items.list(run.id, eval_id=made.id, limit=1).data)
    server.kill()
    server.begin()
    client = server.client()
    found = finished(client, client.evals.runs.retrieve(run.id, eval_id=made.id))
    assert found.status == "completed"
    assert found.result_counts.total == found.per_model_usage[0].invocation_count == 60


def labelled(label):
    return {"extra_headers": {"x-tokenworks-label": label}}


def test_what_an_eval_says_carries_its_label(server):
    cleared, other = server.client(), server.client(server.new_key("default", scopes=["evals", "infer"]))
    made = make(cleared, [EQUAL], **labelled("restricted"))
    assert made.id not in [one.id for one in other.evals.list()]
    for ask in (other.evals.retrieve, other.evals.delete, lambda id: other.evals.update(id, name="mine")):
        with pytest.raises(openai.NotFoundError):
            ask(made.id)
    run = cleared.evals.runs.create(made.id, data_source=inline(ROWS), **labelled("public"))
    assert run.label == "restricted"
    public = make(cleared, [EQUAL], **labelled("public"))
    assert other.evals.retrieve(public.id).id == public.id
    assert cleared.evals.update(public.id, name="secret", **labelled("restricted")).label == "restricted"
    with pytest.raises(openai.NotFoundError):
        other.evals.retrieve(public.id)


def test_what_a_run_says_itself_counts_beside_the_rows_of_its_file(server):
    client, writer = server.client(), name_of(server, "llama")
    rows = lines([{"item": row["item"]} for row in ROWS])
    file = client.files.create(file=("rows.jsonl", rows), purpose="evals", **labelled("public"))
    made = make(client, [EQUAL], **labelled("public"))
    source = completions(writer, [], source={"type": "file_id", "id": file.id})
    said = {
        label: client.evals.runs.create(made.id, data_source=source, **(labelled(label) if label else {})).label
        for label in ("confidential", "")
    }
    assert said == {"confidential": "confidential", "": "restricted"}
    brought = {"type": "jsonl", "source": {"type": "file_id", "id": file.id}}
    assert client.evals.runs.create(made.id, data_source=brought).label == "public"
