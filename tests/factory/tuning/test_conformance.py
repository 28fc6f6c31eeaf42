"""Every answer of the platform against OpenAI's published description."""

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from factory.platform_house import bank_rows, ended, lines, name_of
from factory.tuning.test_evals import EQUAL, ROWS, config, inline
from patience import until

NO_ERROR = {"code": "", "message": ""}  # required of evals by the description, and null in its own examples


@pytest.fixture(scope="module")
def conforms(data_folder):
    path = data_folder / "api-conformance" / "openai" / "openapi.json"
    if not path.exists():
        pytest.skip(f"no published description: {path} does not exist")
    described = msgspec.json.decode(path.read_bytes())
    # Files of evals can be sent since the description knows of them, and come back.
    described["components"]["schemas"]["OpenAIFile"]["properties"]["purpose"]["enum"].append("evals")
    registry = Registry().with_resource("urn:openai", Resource(described, DRAFT202012))

    def check(name, answer):
        assert answer.status_code in (200, 201), answer.text
        checker = Draft202012Validator({"$ref": f"urn:openai#/components/schemas/{name}"}, registry=registry)
        assert not [error.message for error in checker.iter_errors(_as_described(name, answer.json()))]
        return answer.json()

    return check


def _as_described(name, value):
    if isinstance(value, list):
        return [_as_described(name, one) for one in value]
    if not isinstance(value, dict):
        return value
    shown = {key: _as_described(name, one) for key, one in value.items()}
    if name.startswith("Eval") and shown.get("error", NO_ERROR) is None:
        shown["error"] = NO_ERROR
    return shown


@pytest.fixture
def http(server):
    headers = {"authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as client:
        yield client


def test_files_and_jobs_are_as_published(server, http, conforms):
    sent = {"files": {"file": ("bank.jsonl", lines(bank_rows()))}, "data": {"purpose": "fine-tune"}}
    file = conforms("OpenAIFile", http.post("/files", **sent))
    conforms("OpenAIFile", http.get(f"/files/{file['id']}"))
    wanted = {"model": name_of(server, "bert"), "training_file": file["id"], "suffix": "x", "metadata": {"a": "b"}}
    job = conforms("FineTuningJob", http.post("/fine_tuning/jobs", json=wanted))
    ended(server.client(), job["id"])
    at = f"/fine_tuning/jobs/{job['id']}"
    assert conforms("FineTuningJob", http.get(at))["status"] == "succeeded"
    assert conforms("ListFineTuningJobEventsResponse", http.get(f"{at}/events"))["data"]
    assert conforms("ListFineTuningJobCheckpointsResponse", http.get(f"{at}/checkpoints"))["data"]
    assert conforms("ListPaginatedFineTuningJobsResponse", http.get("/fine_tuning/jobs"))["data"]
    assert len(conforms("ListFilesResponse", http.get("/files"))["data"]) == 2  # and the result file
    conforms("DeleteFileResponse", http.delete(f"/files/{file['id']}"))


def test_a_failed_job_is_as_published(server, http, conforms):
    sent = {"files": {"file": ("bad.jsonl", b"{}\n")}, "data": {"purpose": "fine-tune"}}
    file = http.post("/files", **sent).json()
    wanted = {"model": name_of(server, "bert"), "training_file": file["id"]}
    job = http.post("/fine_tuning/jobs", json=wanted).json()
    ended(server.client(), job["id"])
    assert conforms("FineTuningJob", http.get(f"/fine_tuning/jobs/{job['id']}"))["error"]["param"] == "training_file"


def test_evals_are_as_published(http, conforms):
    wanted = {"data_source_config": config(), "testing_criteria": [EQUAL], "name": "x"}
    made = conforms("Eval", http.post("/evals", json=wanted))
    at = f"/evals/{made['id']}"
    conforms("Eval", http.get(at))
    conforms("Eval", http.post(at, json={"metadata": {"a": "b"}}))
    assert conforms("EvalList", http.get("/evals"))["data"]
    run = conforms("EvalRun", http.post(f"{at}/runs", json={"data_source": inline(ROWS)}))
    until(lambda: http.get(f"{at}/runs/{run['id']}").json()["status"] == "completed")
    assert conforms("EvalRun", http.get(f"{at}/runs/{run['id']}"))["result_counts"]["total"] == 3
    assert conforms("EvalRunList", http.get(f"{at}/runs"))["data"]
    items = conforms("EvalRunOutputItemList", http.get(f"{at}/runs/{run['id']}/output_items"))["data"]
    conforms("EvalRunOutputItem", http.get(f"{at}/runs/{run['id']}/output_items/{items[0]['id']}"))


def test_refusals_are_error_objects(http):
    for answer in (
        http.get("/files/none"),
        http.post("/evals", json={}),
        http.post("/fine_tuning/jobs", json={"x": 1}),
    ):
        assert answer.status_code in (400, 404)
        assert {"message", "type", "param", "code"} <= answer.json()["error"].keys()
