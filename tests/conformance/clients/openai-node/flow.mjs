// openai-node: everything around a job, from the upload to the deletion.

import assert from "node:assert/strict";
import { createReadStream, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import OpenAI, { toFile } from "openai";
import { VERSION } from "openai/version";

const { TRAINING_FILE, BASE_MODEL } = process.env;
const OVER = new Set(["succeeded", "failed", "cancelled"]);
const examples = readFileSync(TRAINING_FILE, "utf8").trim().split("\n").map(JSON.parse);
const [system, user, answer] = examples[0].messages;
const client = new OpenAI(); // OPENAI_BASE_URL, OPENAI_API_KEY, OPENAI_ADMIN_KEY

const step = (what) => console.log(`✓ ${what}`);

async function collect(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

async function upload() {
  // A stream: sent in chunks, without a length, the file before its purpose.
  const file = await client.files.create({
    file: createReadStream(TRAINING_FILE),
    purpose: "fine-tune",
    expires_after: { anchor: "created_at", seconds: 86400 },
  });
  assert.equal(file.status, "processed");
  assert.equal(file.filename, "train.jsonl");
  assert.equal(file.expires_at, file.created_at + 86400);
  assert.equal((await client.files.waitForProcessing(file.id)).id, file.id);
  const content = await client.files.content(file.id);
  assert.equal(await content.text(), readFileSync(TRAINING_FILE, "utf8"));
  step("files.create from a stream, files.content");
  return file;
}

async function uploadInParts() {
  const bytes = readFileSync(TRAINING_FILE);
  const upload = await client.uploads.create({
    filename: "parts.jsonl",
    purpose: "fine-tune",
    bytes: bytes.length,
    mime_type: "application/jsonl",
  });
  const half = bytes.length >> 1;
  const pieces = [bytes.subarray(0, half), bytes.subarray(half)];
  const parts = await Promise.all(
    pieces.map(async (data) => client.uploads.parts.create(upload.id, { data: await toFile(data) })),
  );
  const completed = await client.uploads.complete(upload.id, { part_ids: parts.map((p) => p.id) });
  assert.equal(completed.status, "completed");
  assert.equal(completed.file.bytes, bytes.length);
  assert.ok((await client.files.delete(completed.file.id)).deleted);
  step("uploads: two parts at once, complete");
}

async function train(file) {
  let job = await client.fineTuning.jobs.create({
    model: BASE_MODEL,
    training_file: file.id,
    suffix: "node",
    metadata: { "made by": "node & co" },
    method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 5, batch_size: 4 } } },
  });
  assert.equal(job.status, "validating_files");
  while (!OVER.has(job.status)) {
    await sleep(500);
    job = await client.fineTuning.jobs.retrieve(job.id);
  }
  assert.equal(job.status, "succeeded", job.error?.message);
  assert.ok(job.trained_tokens > 0);
  step("fineTuning.jobs.create, retrieve until succeeded");
  return job;
}

async function lookBack(job) {
  const found = await collect(client.fineTuning.jobs.list({ metadata: { "made by": "node & co" } }));
  assert.deepEqual(found.map((j) => j.id), [job.id]);
  assert.ok((await collect(client.fineTuning.jobs.list({ limit: 1 }))).length >= 1);
  const events = await collect(client.fineTuning.jobs.listEvents(job.id, { limit: 5 }));
  assert.equal(events[0].message, "The job has successfully completed");
  assert.equal(events.filter((event) => event.type === "metrics").length, 15);
  const checkpoints = await collect(client.fineTuning.jobs.checkpoints.list(job.id));
  assert.deepEqual(checkpoints.map((c) => c.step_number), [15, 12, 9]);
  assert.equal(checkpoints[0].fine_tuned_model_checkpoint, job.fine_tuned_model);
  const table = await (await client.files.content(job.result_files[0])).text();
  assert.match(table, /^step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n/);
  step("jobs.list by metadata, listEvents in pages, checkpoints, the result file");
}

async function ask(model) {
  const request = { model, messages: [system, user], temperature: 0, max_tokens: 12 };
  const whole = await client.chat.completions.create(request);
  assert.equal(whole.choices[0].message.content, answer.content);
  const stream = await client.chat.completions.create({ ...request, stream: true });
  let streamed = "";
  for await (const chunk of stream) streamed += chunk.choices[0]?.delta?.content ?? "";
  assert.equal(streamed, answer.content);
  const response = await client.responses.create({
    model,
    instructions: system.content,
    input: user.content,
    temperature: 0,
    max_output_tokens: 16,
  });
  assert.equal(response.output_text, answer.content);
  assert.equal((await client.responses.retrieve(response.id)).output_text, answer.content);
  await client.responses.delete(response.id);
  step("chat.completions plain and streamed, responses: what was trained");
}

async function ofModels(model) {
  assert.equal((await client.models.retrieve(model)).id, model);
  const names = (await collect(client.models.list())).map((m) => m.id);
  assert.ok(names.includes(model) && names.includes(BASE_MODEL));
  await assert.rejects(client.models.retrieve("gpt-none"), OpenAI.NotFoundError);
  step("models.list, retrieve; a NotFoundError");
}

async function batch(model) {
  const body = { model, messages: [system, user], temperature: 0, max_tokens: 12 };
  const lines = ["a", "b"].map((id) =>
    JSON.stringify({ custom_id: id, method: "POST", url: "/v1/chat/completions", body }),
  );
  const input = await client.files.create({
    file: await toFile(Buffer.from(lines.join("\n")), "batch.jsonl"),
    purpose: "batch",
  });
  let batch = await client.batches.create({
    input_file_id: input.id,
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
  });
  while (!["completed", "failed", "expired"].includes(batch.status)) {
    await sleep(500);
    batch = await client.batches.retrieve(batch.id);
  }
  assert.deepEqual({ ...batch.request_counts }, { total: 2, completed: 2, failed: 0 });
  const output = await (await client.files.content(batch.output_file_id)).text();
  const answers = output.trim().split("\n").map(JSON.parse);
  assert.deepEqual(answers.map((a) => a.custom_id).sort(), ["a", "b"]);
  for (const a of answers) {
    assert.equal(a.response.body.choices[0].message.content, answer.content);
  }
  step("batches.create, retrieve, the output file");
}

async function share(model) {
  const project = await client.admin.organization.projects.create({ name: "guests" });
  const permissions = client.fineTuning.checkpoints.permissions;
  const [granted] = await collect(permissions.create(model, { project_ids: [project.id] }));
  assert.equal(granted.project_id, project.id);
  assert.deepEqual((await collect(permissions.list(model))).map((p) => p.id), [granted.id]);
  const { deleted } = await permissions.delete(granted.id, { fine_tuned_model_checkpoint: model });
  assert.ok(deleted);
  step("checkpoints.permissions with an admin key");
}

// A receiver of webhooks, as its owner writes one.
async function receive() {
  const calls = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    calls.push({ body, headers: request.headers });
    response.writeHead(204).end();
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const endpoint = await client.webhooks.create({
    name: "node",
    url: `http://127.0.0.1:${server.address().port}/`,
    event_types: ["fine_tuning.job.succeeded"],
  });
  return { calls, endpoint, server };
}

async function unwrap({ calls, endpoint, server }, job) {
  for (let tries = 0; calls.length === 0 && tries < 100; tries++) await sleep(100);
  const [{ body, headers }] = calls;
  const event = await client.webhooks.unwrap(body, headers, endpoint.signing_secret);
  assert.equal(event.type, "fine_tuning.job.succeeded");
  assert.equal(event.data.id, job.id);
  await assert.rejects(
    client.webhooks.unwrap(`${body} `, headers, endpoint.signing_secret),
    OpenAI.InvalidWebhookSignatureError,
  );
  assert.ok((await client.webhooks.delete(endpoint.id)).deleted);
  server.close();
  step("webhooks.create, unwrap of the call that came");
}

console.log(VERSION);
const receiver = await receive();
const file = await upload();
await uploadInParts();
const job = await train(file);
await unwrap(receiver, job);
await lookBack(job);
await ask(job.fine_tuned_model);
await ofModels(job.fine_tuned_model);
await batch(job.fine_tuned_model);
await share(job.fine_tuned_model);
assert.ok((await client.models.delete(job.fine_tuned_model)).deleted);
await assert.rejects(ask(job.fine_tuned_model), OpenAI.NotFoundError);
assert.ok((await client.files.delete(file.id)).deleted);
step("models.delete, files.delete");
