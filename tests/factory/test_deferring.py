"""A running server holds batches and fine-tuning jobs back for a greener hour, and never anybody who waits."""

import time

import httpx
import pytest

from factory.faces.test_batches import begin, ended, row
from factory.platform_house import TOML, Server, bank_rows, lines, name_of
from metering.costs import COSTS
from patience import until

HOUR_S = 3600
SETTINGS = TOML + '\n[costs]\nfile = "costs.toml"\n[deferral]\nby = "carbon_aware"\nlength_h = 0.5\n'


class Deferring(Server):
    toml = SETTINGS


def write_signal(folder, *grams):
    """Write what the coming hours are worth, the present one first; in one step, since a server is reading."""
    now = int(time.time()) // HOUR_S * HOUR_S
    rows = [f"{now + place * HOUR_S},{value}" for place, value in enumerate(grams)]
    (folder / "new.csv").write_text("\n".join(["time,g_per_kwh", *rows, ""]))
    (folder / "new.csv").rename(folder / "signal.csv")


@pytest.fixture(scope="module")
def deferring(tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("deferring")
    (folder / "costs.toml").write_text(COSTS + '\n[carbon]\nzone = "DE"\nsignal = "signal.csv"\n')
    write_signal(folder, 400, 400, 100, 100)
    running = Deferring(folder, [tiny_bert])
    yield running
    running.stop()


def test_what_nobody_waits_for_has_its_hour_and_people_are_answered_meanwhile(deferring):
    client, model = deferring.client(), name_of(deferring, "bert")
    write_signal(deferring.folder, 400, 400, 100, 100)
    rows = [row(number, {"model": model, "input": f"card {number}"}) for number in range(5)]
    held, unwanted = begin(client, rows), begin(client, rows)
    file = client.files.create(file=("train.jsonl", lines(bank_rows())), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=model, training_file=file.id)
    until(lambda: client.fine_tuning.jobs.retrieve(job.id).status == "queued")
    time.sleep(1.5)  # rooms look every second or so: time enough to do what is not wanted
    began = time.monotonic()
    answer = client.embeddings.with_raw_response.create(model=model, input="a lost card")
    assert answer.status_code == 200
    assert time.monotonic() - began < 30
    waiting = client.batches.retrieve(held.id)
    assert (waiting.status, waiting.request_counts.completed) == ("in_progress", 0)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "queued"
    client.batches.cancel(unwanted.id)
    assert ended(client, unwanted).status == "cancelled"
    client.fine_tuning.jobs.cancel(job.id)
    write_signal(deferring.folder, 100, 400, 400)
    done = ended(client, held)
    assert (done.status, done.request_counts.completed) == ("completed", 5)


def test_an_answers_headers_say_what_it_cost(deferring):
    headers = {"authorization": f"Bearer {(deferring.home / 'api-key').read_text().strip()}"}
    body = {"model": name_of(deferring, "bert"), "input": "a lost card"}
    answer = httpx.post(f"{deferring.client().base_url}embeddings", json=body, headers=headers)
    entry = until(lambda: [one for one in deferring.requests() if one.request_id == answer.headers["x-request-id"]])
    assert entry[0].cost_micro == round(float(answer.headers.get("x-tokenworks-cost", "0")) * 1e6)
