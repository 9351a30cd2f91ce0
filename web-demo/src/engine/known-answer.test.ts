// The known answers of all bundles on this machine, as one thread computes them in a real browser. After a change of a
// bundle: LANDFALL_UPDATE=1 npx vitest run src/engine/known-answer.test.ts
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, expect, it } from "vitest";
import { BUNDLES, isComplete, readManifest } from "../../build/bundles.ts";
import type { createEngine } from ".";
import { isAsKnown, type KnownAnswer, knownAnswerKey, knownInput, similarity } from "./known-answer";
import { HarnessServer } from "./testing/harness-server";
import type { BundleName } from "./types";

declare const globalThis: { createEngine: typeof createEngine };

const FILE = new URL("known-answers.json", import.meta.url);
const isUpdate = !!process.env["LANDFALL_UPDATE"];
const names = readdirSync(BUNDLES).filter(isComplete) as BundleName[];
const known = JSON.parse(readFileSync(FILE, "utf8")) as Record<string, KnownAnswer>;
const computed: Record<string, KnownAnswer> = {};

it.each(names)("is current for %s", async (name) => {
  const server = await HarnessServer.start([name]);
  try {
    const { page, context } = await server.open();
    const [answer, status] = await page.evaluate(async (name) => {
      const engine = globalThis.createEngine({ backend: "wasm" });
      const status = await engine.load(name);
      const { embedding, logits } = await engine.knownAnswer();
      return [{ embedding: [...embedding], logits: [...logits] }, status] as const;
    }, name);
    await context.close();
    const key = knownAnswerKey(readManifest(name));
    computed[key] = { embedding: rounded(answer.embedding), logits: rounded(answer.logits) };
    const expected = isUpdate ? computed[key] : known[key];
    expect(expected, `${name}: run with LANDFALL_UPDATE=1`).toBeDefined();
    const similarities = [
      similarity(answer.embedding, expected!.embedding),
      similarity(answer.logits, expected!.logits),
    ];
    console.log(`${name}: similarity of embedding and logits ${similarities.map((of) => of.toFixed(6)).join(", ")}`);
    expect(Math.min(...similarities)).toBeGreaterThan(0.999);
    expect(status.rejected).toEqual([]);
  } finally {
    await server.stop();
  }
}, 300_000);

afterAll(() => {
  if (!isUpdate) return;
  const lines = Object.entries(computed).map(([key, answer]) => `  "${key}": ${JSON.stringify(answer)}`);
  writeFileSync(FILE, `{\n${lines.join(",\n")}\n}\n`);
});

/** Three digits are enough. */
function rounded(values: readonly number[]): number[] {
  const largest = Math.max(...values.map(Math.abs));
  return values.map((value) => Math.round((999 * value) / largest));
}

it("tells wrong results from right ones", () => {
  const right = knownInput(8);
  const expected = [...right];
  expect(isAsKnown(right, expected)).toBe(true);
  expect(isAsKnown(right.map((value) => 2 * value + 1e-3), expected), "another scale").toBe(true);
  expect(isAsKnown(right.map((value, i) => (i % 4 ? value : 0)), expected)).toBe(false);
  expect(isAsKnown(right.map(() => NaN), expected)).toBe(false);
  expect(isAsKnown(right.map(() => 0), expected)).toBe(false);
  expect(isAsKnown(right.subarray(1), expected)).toBe(false);
  expect(isAsKnown(right, undefined), "a newer bundle").toBe(true);
  expect(isAsKnown(right.map(() => Infinity), undefined)).toBe(false);
});
