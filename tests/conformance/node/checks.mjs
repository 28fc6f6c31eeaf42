// Runs the checks of one file one after the other and says of each, in a line of JSON, whether it held.
import assert from "node:assert/strict";

const checks = [];

export function check(endpoint, name, work) {
  checks.push({ endpoint, name, work });
}

export async function raised(kind, promise) {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof kind, `${error.constructor.name} instead of ${kind.name}: ${error.message}`);
    return error;
  }
  return assert.fail(`${kind.name} was not raised`);
}

export async function run() {
  for (const { endpoint, name, work } of checks) {
    let error = "";
    const began = performance.now();
    try {
      await work();
    } catch (failure) {
      error = [failure.stack ?? failure, failure.cause?.stack, failure.cause?.cause?.stack].filter(Boolean).join("\n");
    }
    console.log(JSON.stringify({ endpoint, name, error, took_ms: performance.now() - began }));
  }
}
