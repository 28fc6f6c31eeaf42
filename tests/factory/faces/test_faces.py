"""Every wire form on one real server, as a factory puts it together."""

import anthropic
import httpx

from factory.platform_house import name_of


def test_a_server_answers_in_every_form_and_writes_each_down_once(server):
    client, encoder, writer = server.client(), name_of(server, "bert"), name_of(server, "llama")
    server.warm(encoder)
    with anthropic.Anthropic(base_url=server.url, api_key=server.key) as other:
        said = other.messages.with_raw_response.create(
            model=writer, max_tokens=4, messages=[{"role": "user", "content": "a card"}]
        )
    wanted = {"model": encoder, "query": "lost card", "documents": ["money", "lost card"]}
    headers = {"authorization": f"Bearer {server.key}"}
    ranked = httpx.post(f"{server.url}/v1/rerank", json=wanted, headers=headers, timeout=60)
    checked = client.moderations.with_raw_response.create(input="write to anna@klinik-nord.de")
    kept = client.responses.with_raw_response.create(model=writer, input="a card", max_output_tokens=4)
    assert said.parse().usage.output_tokens > 0
    assert ranked.status_code == 200, ranked.text
    assert ranked.json()["results"][0]["index"] == 1
    assert checked.parse().results[0].flagged
    assert client.responses.retrieve(kept.parse().id).output_text == kept.parse().output_text
    ids = [one.headers["x-request-id"] for one in (said, ranked, checked, kept)]
    entries = [entry for entry in server.requests() if entry.request_id in ids]
    assert sorted((entry.endpoint, entry.face, entry.outcome) for entry in entries) == [
        ("chat.completions", "messages", "ok"),
        ("chat.completions", "responses", "ok"),
        ("embeddings", "rerank", "ok"),
        ("moderations", "", "ok"),
    ]


def test_texts_that_are_erased_are_gone_from_responses_too(server):
    client, writer = server.client(), name_of(server, "llama")
    kept = client.responses.with_raw_response.create(model=writer, input="a card", max_output_tokens=4)
    server.erase(kept.headers["x-request-id"])
    answer = httpx.get(
        f"{server.url}/v1/responses/{kept.parse().id}", headers={"authorization": f"Bearer {server.key}"}, timeout=60
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "response_not_found")
