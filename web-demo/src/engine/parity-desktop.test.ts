// Parity with `landfall locate` for the desktop bundle, in a file of its own so that it runs beside the other tests.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { BUNDLES } from "../../build/bundles.ts";
import type { Manifest } from "./manifest";
import { load, locate, PHOTO } from "./testing/engine-page";
import { HarnessServer } from "./testing/harness-server";
import { expectParity, goldenPredictions } from "./testing/parity";
import type { Engine, EngineError, Prediction } from "./types";

declare const globalThis: { engine: Engine };

let server: HarnessServer;
let page: Page;
let context: BrowserContext;

beforeAll(async () => {
  server = await HarnessServer.start(["desktop"]);
  ({ page, context } = await server.open());
  // With threads, which do not change the result: this file is the last to run, alone.
  expect(await load(page, "desktop", "wasm-threads")).toBeNull();
});
afterAll(async () => {
  await context.close();
  await server.stop();
});

it("is published in files that static hosts accept", () => {
  const sizes = readdirSync(server.folder, { recursive: true, encoding: "utf8" }).map(
    (file) => statSync(join(server.folder, file)).size,
  );
  expect(sizes.length).toBeGreaterThan(10);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(20e6);
});

/** `npm run measure` checks all of them; one takes seconds on the CPU. */
it("predicts the same as landfall locate with the desktop bundle", async () => {
  const records = goldenPredictions("desktop");
  expect(records.length).toBe(75);
  await expectParity(
    page,
    records.filter((_, i) => i % 15 === 0),
  );
}, 300_000);

it("predicts from the whole square first, and stops when asked to", async () => {
  const [steps, final, error] = await page.evaluate(async (photo) => {
    const blob = await (await fetch(photo)).blob();
    const steps: Prediction[] = [];
    const final = await globalThis.engine.locate([blob], { onStep: (step) => steps.push(step) });
    const stop = new AbortController();
    const error = await globalThis.engine
      .locate([blob], { onStep: () => stop.abort(), signal: stop.signal })
      .catch(({ kind }: EngineError) => kind);
    return [steps, final, error] as const;
  }, PHOTO);
  expect(steps).toHaveLength(1);
  const [step] = steps;
  expect(step).toMatchObject({ country: final.country, bundle: final.bundle, views: 1 });
  expect(step!.ms.encode).toBeLessThan(0.6 * final.ms.encode);
  expect(step!.cells).not.toEqual(final.cells);
  expect(error).toBe("cancelled");
});

it("opens what the previous visit prepared, and predicts the same", async () => {
  const { head, encoder } = JSON.parse(readFileSync(join(BUNDLES, "desktop", "bundle.json"), "utf8")) as Manifest;
  const first = await locate(page, PHOTO);
  await page.evaluate(() => globalThis.engine.close());
  const visit = (await server.open(context)).page;
  await visit.evaluate(async (hash) => {
    const store = await caches.open("landfall-models");
    for (const { url } of await store.keys()) if (url.includes(hash)) await store.delete(url);
  }, encoder.sha256);
  server.requestedPaths = [];
  expect(await load(visit, "desktop", "wasm-threads")).toBeNull();
  expect(server.requestedPaths.filter((path) => path.includes(encoder.file) || path.includes(head.file))).toEqual([]);
  expect((await visit.evaluate(() => globalThis.engine.knownAnswer())).logits, "is known to be right").toHaveLength(0);
  const again = await locate(visit, PHOTO);
  expect({ ...(again as Prediction), ms: null }).toEqual({ ...(first as Prediction), ms: null });
}, 120_000);
