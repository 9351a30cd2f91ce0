// The engine's predictions in a real browser, with one load of the model: parity with `landfall locate` on every
// fixture image, camera frames, constant memory use, threads and invalid images.
import { readFileSync } from "node:fs";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { plainPng } from "../../test/images.ts";
import type { createEngine } from ".";
import { load, locate, PHOTO } from "./testing/engine-page";
import { expectParity, goldenPredictions } from "./testing/parity";
import { HarnessServer } from "./testing/harness-server";
import type { Engine, Prediction, Status } from "./types";

declare const globalThis: { createEngine: typeof createEngine; engine: Engine };

let server: HarnessServer;
let page: Page;
let context: BrowserContext;

beforeAll(async () => {
  server = await HarnessServer.start(["pocket"]);
  ({ page, context } = await server.open());
  expect(await load(page)).toBeNull();
});
afterAll(async () => {
  await context.close();
  await server.stop();
});

it("predicts the same as landfall locate", async () => {
  const records = goldenPredictions("pocket");
  expect(records.length).toBe(75);
  await expectParity(page, records);
});

it("accepts camera frames, closes them, and predicts the same as for the file", async () => {
  const json = await page.evaluate(async (photo) => {
    const blob = await (await fetch(photo)).blob();
    const bitmap = await createImageBitmap(blob);
    const frame = await globalThis.engine.locate([bitmap]);
    return JSON.stringify([frame, bitmap.width, await globalThis.engine.locate([blob])]);
  }, PHOTO);
  const [frame, width, file]: [Prediction, number, Prediction] = JSON.parse(json);
  expect(width).toBe(0);
  // The browser's JPEG decoder differs slightly.
  expect(frame.place).toBe(file.place);
  expect(Math.abs(Math.log(frame.cells[0]!.p / file.cells[0]!.p))).toBeLessThan(0.1);
});

/** `npm run measure` runs this for longer. */
it("does not leak memory", async () => {
  const many = 40;
  const megabytes = await page.evaluate(
    async ([photo, many]) => {
      type Measuring = { measureUserAgentSpecificMemory(): Promise<{ bytes: number }> };
      const measure = async () =>
        (await (performance as unknown as Measuring).measureUserAgentSpecificMemory()).bytes / 1e6;
      const blob = await (await fetch(photo)).blob();
      const predict = async (times: number) => {
        for (let i = 0; i < times; i++) await globalThis.engine.locate([i % 2 ? blob : await createImageBitmap(blob)]);
      };
      await predict(4);
      const before = await measure();
      await predict(many);
      return [before, await measure()] as const;
    },
    [PHOTO, many] as const,
  );
  console.log(`memory before and after ${many} inferences: ${megabytes.map((mb) => mb.toFixed(1)).join(" and ")} MB`);
  expect(megabytes[1] - megabytes[0]).toBeLessThan(8);
});

it("predicts the same with threads as without", async () => {
  const json = await page.evaluate(async (photo) => {
    const blob = await (await fetch(photo)).blob();
    const many = globalThis.createEngine({ backend: "wasm-threads" });
    const status = await many.load("pocket");
    const threads = await many.locate([blob]);
    many.close();
    return JSON.stringify([status, threads, await globalThis.engine.locate([blob])]);
  }, PHOTO);
  const [status, threads, one]: [Status, Prediction, Prediction] = JSON.parse(json);
  expect(status.backend).toBe("wasm-threads");
  expect(status.threads).toBeGreaterThan(1);
  expect({ ...threads, ms: null }).toEqual({ ...one, ms: null });
});

it("reports invalid images and continues", async () => {
  const photo = readFileSync(new URL(`../../..${PHOTO}`, import.meta.url));
  const heic = Buffer.from("000000186674797068656963000000006d69663168656963", "hex");
  for (const [file, message] of [
    [Buffer.from("not an image"), /^unreadable: This file is not a readable image/],
    [Buffer.alloc(0), /^unreadable: This file is not a readable image/],
    [photo.subarray(0, 90), /^unreadable: This file is not a readable image \(the JPEG file is cut off/],
    [heic, /^unreadable: This browser does not support HEIC images: choose a JPEG/],
    [plainPng(30_000, 30_000), /^too-large: This image is too large: it claims to have 30000 x 30000 pixels/],
  ] as const) {
    expect(await locate(page, file)).toMatch(message);
  }
  // Of a progressive JPEG whose end is missing, the rest is located.
  for (const bytes of [photo.length / 2, photo.length - 200]) {
    const cut = (await locate(page, photo.subarray(0, bytes))) as Prediction;
    expect(cut.warnings).toEqual([expect.stringMatching(/^the JPEG file is cut off: /)]);
    expect(cut.place).toBe("near Rome, Italy");
  }
  expect(await locate(page, PHOTO)).toMatchObject({ warnings: [] });
  // Tiny and narrow images are valid; one of 200 megapixels is decoded at a smaller size.
  for (const file of [plainPng(1, 1), plainPng(1, 3000), plainPng(16_320, 12_240)])
    expect(await locate(page, file)).toHaveProperty("place");
  expect(await locate(page, PHOTO, PHOTO)).toMatchObject({ place: "near Rome, Italy", views: 2 });
  expect(await locate(page)).toMatch(/^unreadable: There is no image/);
});
