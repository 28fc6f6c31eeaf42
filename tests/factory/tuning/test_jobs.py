"""Files, fine-tuning jobs and the models they make, by the official client on a real server."""

import pytest

from factory.platform_house import Server, bank_rows, ended, lines
from factory.banking import questions


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_bert):
    """A server whose one base is a tiny encoder."""
    running = Server(tmp_path_factory.mktemp("platform"), [tiny_bert])
    yield running
    running.stop()


def base_of(server):
    return next(one.id for one in server.client().models.list() if one.id.startswith("tiny-bert"))


def test_a_file_becomes_a_model_that_answers(server):
    client = server.client()
    file = client.files.create(file=("bank.jsonl", lines(bank_rows())), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=base_of(server), training_file=file.id, suffix="Bank", seed=1)
    assert job.status == "validating_files"
    job = ended(client, job.id)
    assert job.error is None
    assert job.status == "succeeded"
    assert job.trained_tokens > 0
    assert job.fine_tuned_model.startswith("ft-tiny-bert") and "-bank-" in job.fine_tuned_model
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
