// Parity with `landfall locate` for the desktop bundle, in a file of its own so that it runs beside the other tests.
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { load } from "./testing/engine-page";
import { HarnessServer } from "./testing/harness-server";
import { expectParity, goldenPredictions } from "./testing/parity";

let server: HarnessServer;
let page: Page;
let context: BrowserContext;

beforeAll(async () => {
  server = await HarnessServer.start(["desktop"]);
  ({ page, context } = await server.open());
});
afterAll(async () => {
  await context.close();
  await server.stop();
});

/**
 * `npm run measure` checks all of them; one takes seconds on the CPU. With threads, which do not change the result: this
 * file is the last to run, alone.
 */
it("predicts the same as landfall locate with the desktop bundle", async () => {
  expect(await load(page, "desktop", "wasm-threads")).toBeNull();
  const records = goldenPredictions("desktop");
  expect(records.length).toBe(75);
  await expectParity(
    page,
    records.filter((_, i) => i % 15 === 0),
  );
}, 300_000);
