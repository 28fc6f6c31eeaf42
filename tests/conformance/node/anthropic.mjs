// Anthropic's official client for Node. What is asked and where stands in the environment.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { check, raised, run } from "./checks.mjs";

const { BASE_URL, API_KEY, NARROW_KEY, WRITER } = process.env;
const client = new Anthropic({ baseURL: BASE_URL, apiKey: API_KEY, maxRetries: 0, timeout: 60_000 });
const asked = { model: WRITER, max_tokens: 8, temperature: 0, messages: [{ role: "user", content: "a card was lost" }] };

check("messages", "a message is answered", async () => {
  const said = await client.messages.create({ ...asked, system: "be brief" });
  assert.equal(said.content[0].type, "text");
  assert.ok(said.usage.output_tokens <= 8);
});

check("messages", "the events of a message come in their order", async () => {
  const whole = await client.messages.create(asked);
  const events = [];
  for await (const event of await client.messages.create({ ...asked, stream: true })) events.push(event);
  assert.equal(events[0].type, "message_start");
  assert.equal(events.at(-1).type, "message_stop");
  const said = events.filter((event) => event.type === "content_block_delta").map((event) => event.delta.text);
  assert.equal(said.join(""), whole.content[0].text);
});

check("messages", "the helper for streams gathers the same message", async () => {
  const whole = await client.messages.create(asked);
  const final = await client.messages.stream(asked).finalMessage();
  assert.equal(final.content[0].text, whole.content[0].text);
});

check("count tokens", "tokens are counted as they are charged", async () => {
  const { model, messages } = asked;
  const counted = await client.messages.countTokens({ model, messages });
  const { usage } = await client.messages.create(asked);
  assert.equal(counted.input_tokens, usage.input_tokens + usage.cache_read_input_tokens);
});

check("errors", "each refusal is its own exception", async () => {
  const with_key = (apiKey) => client.withOptions({ apiKey });
  for (const [kind, asker, more, told] of [
    [Anthropic.BadRequestError, client, { max_tokens: 0 }, "invalid_request_error"],
    [Anthropic.NotFoundError, client, { model: "nothing" }, "not_found_error"],
    [Anthropic.AuthenticationError, with_key("tw-wrong"), {}, "authentication_error"],
    [Anthropic.PermissionDeniedError, with_key(NARROW_KEY), {}, "permission_error"],
  ]) {
    const error = await raised(kind, asker.messages.create({ ...asked, ...more }));
    assert.equal(error.error.error.type, told);
    assert.ok(error.requestID);
  }
});

check("timeouts", "who waits no longer gets a timeout", async () => {
  await raised(
    Anthropic.APIConnectionTimeoutError,
    client.messages.create({ ...asked, max_tokens: 8000 }, { timeout: 100 }),
  );
});

check("cancellation", "a stream can be left and a call can be aborted", async () => {
  for await (const event of await client.messages.create({ ...asked, max_tokens: 8000, stream: true })) {
    if (event.type === "content_block_delta") break;
  }
  const abort = new AbortController();
  const call = client.messages.create({ ...asked, max_tokens: 8000 }, { signal: abort.signal });
  setTimeout(() => abort.abort(), 100);
  await raised(Anthropic.APIUserAbortError, call);
});

await run();
