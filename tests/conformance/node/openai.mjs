// OpenAI's official client for Node. What is asked and where stands in the environment.
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";
import { check, raised, run } from "./checks.mjs";

const { BASE_URL, API_KEY, NARROW_KEY, WRITER, EMBEDDER, LIMITED_KEY } = process.env;
const client = new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: API_KEY, maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "a card was lost" }];
const few = { model: WRITER, messages, max_tokens: 8, temperature: 0 };
const brief = { model: WRITER, input: "a card was lost", max_output_tokens: 8, temperature: 0 };

async function everything(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

check("models", "models are listed and found by name", async () => {
  const names = (await everything(client.models.list())).map((model) => model.id);
  assert.ok(names.includes(WRITER) && names.includes(EMBEDDER));
  assert.equal((await client.models.retrieve(WRITER)).id, WRITER);
  assert.equal((await raised(OpenAI.NotFoundError, client.models.retrieve("nothing"))).code, "model_not_found");
});

check("chat completions", "a chat is answered", async () => {
  const answer = await client.chat.completions.create(few);
  assert.equal(answer.choices[0].message.role, "assistant");
  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

check("chat completions", "a streamed chat says what the whole one says", async () => {
  const whole = await client.chat.completions.create(few);
  const chunks = await everything(
    await client.chat.completions.create({ ...few, stream: true, stream_options: { include_usage: true } }),
  );
  const said = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.equal(said, whole.choices[0].message.content);
  assert.deepEqual(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens);
});

check("chat completions", "the helper for streams gathers the same answer", async () => {
  const whole = await client.chat.completions.create(few);
  const final = await client.chat.completions.stream(few).finalChatCompletion();
  assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
});

check("completions", "completions are whole, several and streamed", async () => {
  const asked = { model: WRITER, prompt: ["a card", "the mail"], max_tokens: 8, temperature: 0 };
  const whole = await client.completions.create(asked);
  const texts = ["", ""];
  for await (const chunk of await client.completions.create({ ...asked, stream: true })) {
    for (const choice of chunk.choices) texts[choice.index] += choice.text;
  }
  assert.deepEqual(texts, whole.choices.map((choice) => choice.text));
});

check("responses", "a response is kept, continued, listed and deleted", async () => {
  const first = await client.responses.create(brief);
  assert.equal((await client.responses.retrieve(first.id)).output_text, first.output_text);
  const second = await client.responses.create({ ...brief, input: "and then?", previous_response_id: first.id });
  const items = await everything(client.responses.inputItems.list(second.id, { order: "asc" }));
  assert.deepEqual(items.map((item) => item.role), ["user", "assistant", "user"]);
  await client.responses.delete(first.id);
  await raised(OpenAI.NotFoundError, client.responses.retrieve(first.id));
});

check("responses", "the events of a response are numbered and complete", async () => {
  const whole = await client.responses.create(brief);
  const events = await everything(await client.responses.create({ ...brief, stream: true }));
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, number) => number));
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  assert.equal(deltas.map((event) => event.delta).join(""), whole.output_text);
});

check("embeddings", "embeddings are the same as floats and in base64, and can be shorter", async () => {
  const asked = { model: EMBEDDER, input: ["a card", "the mail"] };
  const plain = await client.embeddings.create(asked); // the client itself asks for base64
  const floats = await client.embeddings.create({ ...asked, encoding_format: "float" });
  const vector = floats.data[1].embedding;
  plain.data[1].embedding.forEach((value, place) => assert.ok(Math.abs(value - vector[place]) < 1e-6));
  const short = await client.embeddings.create({ ...asked, dimensions: 8, encoding_format: "float" });
  assert.equal(short.data[0].embedding.length, 8);
});

check("moderations", "personal data is found", async () => {
  const found = await client.moderations.create({ input: ["write to anna@klinik-nord.de", "good morning"] });
  assert.deepEqual(found.results.map((one) => one.flagged), [true, false]);
});

check("files", "a file is kept, listed, read and deleted", async () => {
  const data = '{"item": {"q": "a"}}\n';
  const file = await client.files.create({ file: await toFile(Buffer.from(data), "rows.jsonl"), purpose: "evals" });
  assert.ok((await everything(client.files.list({ purpose: "evals" }))).some((one) => one.id === file.id));
  assert.equal((await client.files.retrieve(file.id)).bytes, data.length);
  assert.equal(await (await client.files.content(file.id)).text(), data);
  assert.ok((await client.files.delete(file.id)).deleted);
});

check("batches", "a batch is run and its answers are a file", async () => {
  const row = { custom_id: "row-0", method: "POST", url: "/v1/chat/completions", body: few };
  const file = await client.files.create({
    file: await toFile(Buffer.from(JSON.stringify(row)), "batch.jsonl"),
    purpose: "batch",
  });
  const asked = { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" };
  let batch = await client.batches.create(asked);
  while (!["completed", "failed"].includes(batch.status)) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    batch = await client.batches.retrieve(batch.id);
  }
  assert.equal(batch.request_counts.completed, 1);
  const answer = JSON.parse(await (await client.files.content(batch.output_file_id)).text());
  assert.equal(answer.custom_id, "row-0");
});

check("fine-tuning jobs", "jobs are listed", async () => {
  assert.deepEqual(await everything(client.fineTuning.jobs.list()), []);
});

check("evals", "an eval is made, found and deleted", async () => {
  const made = await client.evals.create({
    name: "one",
    data_source_config: { type: "custom", item_schema: { type: "object" }, include_sample_schema: true },
    testing_criteria: [
      { type: "string_check", name: "equal", input: "{{ sample.output_text }}", reference: "yes", operation: "eq" },
    ],
  });
  assert.equal((await client.evals.retrieve(made.id)).name, "one");
  assert.ok((await client.evals.delete(made.id)).deleted);
});

check("vector store search", "documents are found", async () => {
  const found = await everything(client.vectorStores.search("documents", { query: "lost card" }));
  assert.equal(found[0].filename, "cards.md");
});

check("errors", "each refusal is its own exception", async () => {
  const ask = (asker, more) => asker.chat.completions.create({ ...few, ...more });
  const with_key = (apiKey) => client.withOptions({ apiKey });
  for (const [kind, asker, more, code] of [
    [OpenAI.BadRequestError, client, { temperature: 9 }, "invalid_value"],
    [OpenAI.NotFoundError, client, { model: "nothing" }, "model_not_found"],
    [OpenAI.AuthenticationError, with_key("tw-wrong"), {}, "invalid_api_key"],
    [OpenAI.PermissionDeniedError, with_key(NARROW_KEY), {}, "missing_scope"],
  ]) {
    const error = await raised(kind, ask(asker, more));
    assert.equal(error.code, code);
    assert.ok(error.requestID);
  }
});

check("retries", "a refusal is asked again after the time it names", async () => {
  const asked = [];
  const counting = client.withOptions({
    apiKey: LIMITED_KEY,
    maxRetries: 6,
    fetch: async (url, options) => {
      const answer = await fetch(url, options);
      asked.push({ status: answer.status, at: Date.now(), after: Number(answer.headers.get("retry-after-ms")) });
      return answer;
    },
  });
  await Promise.all([1, 2].map(() => counting.chat.completions.create({ ...few, max_tokens: 400, ignore_eos: true })));
  assert.equal(asked.filter((one) => one.status === 200).length, 2);
  const told = asked.find((one) => one.status === 429);
  assert.ok(told, "nothing was refused");
  const next = asked.findLast((one) => one.at > told.at);
  assert.ok(next.at - told.at >= told.after - 20, `${next.at - told.at} ms instead of ${told.after}`);
});

check("timeouts", "who waits no longer gets a timeout", async () => {
  await raised(
    OpenAI.APIConnectionTimeoutError,
    client.chat.completions.create({ ...few, max_tokens: 8000, ignore_eos: true }, { timeout: 100 }),
  );
});

check("cancellation", "a stream can be left and a call can be aborted", async () => {
  const stream = await client.chat.completions.create({ ...few, max_tokens: 8000, ignore_eos: true, stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk.choices);
    break;
  }
  const abort = new AbortController();
  const call = client.chat.completions.create({ ...few, max_tokens: 8000, ignore_eos: true }, { signal: abort.signal });
  setTimeout(() => abort.abort(), 100);
  await raised(OpenAI.APIUserAbortError, call);
});

await run();
