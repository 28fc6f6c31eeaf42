"""Files, fine-tuning jobs and the models they make, by the official client on a real server."""

import re

import openai
import pytest

from factory.banking import questions
from factory.platform_house import bank_rows, ended, lines, name_of
from patience import until
from tokenworks.core.label import Label
from tokenworks.governance.keys import SCOPES


def test_a_file_becomes_a_model_that_answers(server):
    client = server.client()
    file = client.files.create(file=("bank.jsonl", lines(bank_rows())), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=name_of(server, "bert"), training_file=file.id, suffix="Bank", seed=1)
    assert job.status == "validating_files"
    job = ended(client, job.id)
    assert job.error is None
    assert job.status == "succeeded"
    assert job.trained_tokens > 0
    assert re.fullmatch(r"ft-tiny-bert\d*-bank-[0-9a-z]{10}", job.fine_tuned_model)
    said = [one.message for one in client.fine_tuning.jobs.list_events(job.id, limit=50)]
    assert said[0] == "The job has successfully completed"
    assert said[-1] == "Created fine-tuning job"
    [checkpoint] = client.fine_tuning.jobs.checkpoints.list(job.id)
    assert checkpoint.fine_tuned_model_checkpoint == job.fine_tuned_model
    result = client.files.content(job.result_files[0]).text
    assert "eval_accuracy" in result.splitlines()[0]
    tests = questions(60, seed=9)
    asked = {"model": job.fine_tuned_model, "input": [one["text"] for one in tests]}
    answer = client.post("/classify", body=asked, cast_to=object)
    right = sum(got["label"] == one["label"] for got, one in zip(answer["data"], tests, strict=True))
    assert right / len(tests) > 0.5
    version = server.version(job.fine_tuned_model)
    assert (version.tenant, version.owner, version.label) == ("default", "default/local", "restricted")
    assert version.evaluation


def chat_rows(count):
    return [
        {"messages": [{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": "the fox"}]}
        for n in range(count)
    ]


def send(client, rows, name="rows.jsonl", **more):
    return client.files.create(file=(name, lines(rows)), purpose="fine-tune", **more).id


def test_conversations_make_a_chat_model_of_its_tenant_alone(server):
    client = server.client()
    files = {"training_file": send(client, chat_rows(24)), "validation_file": send(client, chat_rows(26)[24:])}
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": 2}}}
    job = ended(client, client.fine_tuning.jobs.create(model=name_of(server, "llama"), **files, method=method).id)
    assert (job.status, job.error) == ("succeeded", None)
    assert job.method.supervised.hyperparameters.n_epochs == 2
    [checkpoint] = client.fine_tuning.jobs.checkpoints.list(job.id)
    losses = [one.data for one in client.fine_tuning.jobs.list_events(job.id, limit=100) if one.type == "metrics"]
    assert {"step": checkpoint.step_number, "train_loss": checkpoint.metrics.train_loss} in losses
    assert "step,train_loss,eval_exact_match,eval_items" in client.files.content(job.result_files[0]).text
    ask = {"model": job.fine_tuned_model, "messages": [{"role": "user", "content": "say 3"}], "max_tokens": 4}
    assert client.chat.completions.create(**ask).usage.completion_tokens
    other = server.client(server.new_key("rival", clearance=Label.RESTRICTED, scopes=SCOPES))
    assert job.fine_tuned_model not in [one.id for one in other.models.list()]
    with pytest.raises(openai.NotFoundError):
        other.chat.completions.create(**ask)
    for look in (other.fine_tuning.jobs.retrieve, other.fine_tuning.jobs.list_events, other.fine_tuning.jobs.cancel):
        with pytest.raises(openai.NotFoundError):
            look(job.id)


def test_preferences_and_rewards_make_models_too(server):
    client = server.client()
    asked = [{"role": "user", "content": "say a"}]
    pairs = [
        {
            "input": {"messages": [{"role": "user", "content": f"say {n}"}]},
            "preferred_output": [{"role": "assistant", "content": "the fox"}],
            "non_preferred_output": [{"role": "assistant", "content": "a dog"}],
        }
        for n in range(12)
    ]
    told = {"n_epochs": 1, "beta": 0.3}
    dpo = client.fine_tuning.jobs.create(
        model=name_of(server, "llama"),
        training_file=send(client, pairs),
        method={"type": "dpo", "dpo": {"hyperparameters": told}},
    )
    grader = {
        "type": "string_check",
        "name": "contains",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.reference_answer }}",
        "operation": "ilike",
    }
    questions_ = [{"messages": [{"role": "user", "content": f"say {n}"}], "reference_answer": "e"} for n in range(12)]
    rft = client.fine_tuning.jobs.create(
        model=name_of(server, "llama"),
        training_file=send(client, questions_),
        method={"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": {"n_epochs": 1}}},
    )
    for job in (ended(client, dpo.id), ended(client, rft.id)):
        assert (job.status, job.error) == ("succeeded", None)
        answer = client.chat.completions.create(model=job.fine_tuned_model, messages=asked, max_tokens=2)
        assert answer.choices[0].finish_reason in ("stop", "length")
    assert job.trained_tokens > 0


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (b'{"messages": []}\n', "line 1"),
        (lines(bank_rows(20)) + b'{"text": 5, "label": "x"}\n', "line 21"),
        (b"\xff\xfe\n", "bad.jsonl"),
        (lines([{"text": f"{n}", "label": "only"} for n in range(20)]), 'of the one class "only"'),
    ],
)
def test_bad_rows_fail_the_job_with_file_and_line(server, rows, words):
    client = server.client()
    file = client.files.create(file=("bad.jsonl", rows), purpose="fine-tune")
    job = ended(client, client.fine_tuning.jobs.create(model=name_of(server, "bert"), training_file=file.id).id)
    assert job.status == "failed"
    assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    assert words in job.error.message
    assert str(server.home) not in job.error.message
    assert job.fine_tuned_model is None


@pytest.mark.parametrize(
    ("base", "asked", "words"),
    [
        ("bert", {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}}, "n_epochs"),
        ("llama", {"method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 4}}}}, "batch"),
        ("bert", {"method": {"type": "dpo"}}, "by method supervised"),
        ("llama", {"method": {"type": "reinforcement", "reinforcement": {}}}, "grader is missing"),
        ("llama", {"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations"),
        ("llama", {"training_file": "file-nowhere"}, "file-nowhere"),
        ("llama", {"extra_body": {"n_epochs": 2}}, "unknown field 'n_epochs'"),
        ("no-such-model", {}, "does not exist"),
    ],
)
def test_what_no_trainer_can_follow_is_refused_by_name(server, base, asked, words):
    client = server.client()
    model = base if base == "no-such-model" else name_of(server, base)
    asked = {"training_file": send(client, bank_rows(20)), **asked}
    with pytest.raises(openai.APIStatusError) as refusal:
        client.fine_tuning.jobs.create(model=model, **asked)
    assert refusal.value.status_code in (400, 404)
    assert words in refusal.value.message


def test_a_cancelled_job_releases_nothing_and_lets_its_file_go(server):
    client = server.client()
    file = send(client, bank_rows())
    job = client.fine_tuning.jobs.create(model=name_of(server, "bert"), training_file=file, metadata={"why": "test"})
    with pytest.raises(openai.ConflictError, match=job.id):
        client.files.delete(file)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="cancelled already"):
        client.fine_tuning.jobs.cancel(job.id)
    assert client.files.delete(file).deleted
    until(lambda: not server.works_on(job.id))
    assert not [step for step in server.releases() if job.id in step.reason]
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.fine_tuned_model) == ("cancelled", None)
    assert [one.id for one in client.fine_tuning.jobs.list(metadata={"why": "test"})] == [job.id]


def test_a_killed_trainer_and_a_killed_server_go_on_where_they_were(server):
    client = server.client()
    file = send(client, bank_rows())
    job = client.fine_tuning.jobs.create(model=name_of(server, "bert"), training_file=file, seed=3)
    server.kill_trainer(job.id)
    until(lambda: client.fine_tuning.jobs.retrieve(job.id).status in ("queued", "running"))
    server.kill()
    server.begin()
    client = server.client()
    after = ended(client, job.id)
    assert (after.status, after.error) == ("succeeded", None)
    said = [one.message for one in client.fine_tuning.jobs.list_events(job.id, limit=100)]
    assert any(message.startswith("The trainer died") for message in said)
    for message in ("Created fine-tuning job", "Fine-tuning job started", "The job has successfully completed"):
        assert said.count(message) == 1
    assert len(server.versions(after.fine_tuned_model)) == 1
