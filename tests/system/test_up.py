"""`tokenworks up` end to end: real processes, the official client, the ledger, feedback, and a turn."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import openai
import pytest

from system.processes import Running, gone, tokenworks
from tokenworks.core.ids import new_id
from tokenworks.example.stdlib import Example

pytestmark = pytest.mark.xdist_group("up")


def client(running):
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key=running.key, max_retries=6)  # an engine may be starting


def classify(running, text):
    answer = client(running).post("/classify", body={"model": "route", "input": text}, cast_to=object)
    return answer["data"][0]["label"]


def request_id(raw):
    return raw.headers["x-request-id"]


def test_the_line_ends_with_a_released_classifier(factory_running):
    shown = json.loads(tokenworks(factory_running.home, "--json", "release", "show").stdout)
    assert ("route", 1) in [(one["alias"], one["version"]) for one in shown]
    report = json.loads(tokenworks(factory_running.home, "--json", "report").stdout)
    route = next(one for one in report["models"] if one["task"] == "route")
    assert route["figure"]["value"] > max(route["baselines"].values())
    assert route["verdict"] == "promote"
    assert report["ledger_ok"]


def test_the_report_adds_up(factory_running):
    report = json.loads(tokenworks(factory_running.home, "--json", "report").stdout)
    (documents,) = [one for one in report["documents"] if one["task"] == "complete"]
    assert documents["seen"] == documents["kept"] + sum(documents["set_aside"].values())
    assert documents["seen"] == len(list((factory_running.folder / "docs").iterdir()))


def test_the_pretrained_model_streams_to_the_official_client_and_is_on_the_ledger(factory_running):
    released = tokenworks(factory_running.home, "release", "promote", "complete@1", "--reason", "test")
    assert released.returncode == 0, released.stderr
    patient = client(factory_running).with_options(max_retries=8)  # its engine is started by the first who asks
    with patient.completions.with_streaming_response.create(
        model="complete", prompt="import ", max_tokens=24, temperature=0, stream=True
    ) as raw:
        asked = request_id(raw)
        chunks = list(raw.parse())
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    tail = tokenworks(factory_running.home, "--json", "ledger", "tail", "-n", "50").stdout.splitlines()
    (entry,) = [one for one in map(json.loads, tail) if one.get("request_id") == asked]
    assert entry["completion_tokens"] == 24
    assert entry["version"] == "complete@1"
    assert len(entry["answer_digest"]) == 64
    assert tokenworks(factory_running.home, "ledger", "verify").returncode == 0


def test_embeddings_and_document_search_answer(factory_running):
    vector = client(factory_running).embeddings.create(model="minilm", input="hello").data[0].embedding
    assert sum(value * value for value in vector) == pytest.approx(1.0, abs=1e-3)
    found = client(factory_running).vector_stores.search("documents", query="calendar month names")
    assert found.data[0].filename.startswith("calendar")


def test_corrections_become_a_better_released_model(factory_running):
    rows = msgspec.json.Decoder(Example).decode_lines((factory_running.folder / "traffic.jsonl").read_bytes())
    api = client(factory_running)

    def live(row):
        asked = new_id("ticket")
        options = {"headers": {"x-request-id": asked}}
        api.post("/classify", body={"model": "route", "input": row.text}, cast_to=object, options=options)
        return {"request_id": asked, "correction": row.label}

    with ThreadPoolExecutor(4) as people:
        said = list(people.map(live, rows[:500]))
    api.post("/feedback", body=said, cast_to=object)
    done = tokenworks(factory_running.home, "--json", "turn", "route")
    assert done.returncode == 0, done.stderr
    turn = json.loads(done.stdout)
    assert turn["outcome"] == "promoted", tokenworks(factory_running.home, "turn", "show").stdout
    shown = json.loads(tokenworks(factory_running.home, "--json", "release", "show").stdout)
    assert ("route", 2) in [(one["alias"], one["version"]) for one in shown]
    again = turned_when_free(factory_running.home)
    assert (again["new"], again["outcome"]) == (0, "nothing-new")


def turned_when_free(home):
    """Turn; where the server is at something itself, once that is over."""
    until_s = time.monotonic() + 120
    while (done := tokenworks(home, "--json", "turn", "route")).returncode and time.monotonic() < until_s:
        time.sleep(1.0)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_lineage_leads_from_the_model_back_to_the_documents(factory_running):
    text = tokenworks(factory_running.home, "lineage", "complete@1").stdout
    for stage in ("pretrain", "split", "curate", "ingest"):
        assert stage in text
    assert "docs" in text


def test_a_second_start_on_the_same_home_is_refused_and_the_first_goes_on(factory_running):
    port = factory_running.url.rsplit(":", 1)[1]
    second = tokenworks(factory_running.home, "serve", "--port", port)
    assert second.returncode == 2
    assert port in second.stderr
    assert classify(factory_running, "parse a date")


def test_it_stops_cleanly_and_leaves_no_process(tmp_path):
    running = Running(tmp_path / "home", "serve")
    tree = running.tree()
    assert running.stop() == 0
    assert gone(tree)
