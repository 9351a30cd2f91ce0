// The engine's answers in a real browser, from one load of the model: those of `landfall locate` for every fixture picture,
// then a camera's frames, memory that stays flat, threads, and bad pictures.
import { readFileSync } from "node:fs";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { plain } from "../../test/images.ts";
import type { createEngine } from ".";
import { load, locate, PHOTO } from "./testing/engine-page";
import { agree, golden } from "./testing/parity";
import { Served } from "./testing/harness-server";
import type { Engine } from "./types";

declare const globalThis: { createEngine: typeof createEngine; engine: Engine };

let served: Served;
let page: Page;
let context: BrowserContext;

beforeAll(async () => {
  served = await Served.start(["pocket", "desktop"]);
  ({ page, context } = await served.open());
  expect(await load(page)).toBeNull();
});
afterAll(async () => {
  await context.close();
  await served.stop();
});

it("says what landfall locate says", async () => {
  const located = golden("pocket");
  expect(located.length).toBe(52);
  await agree(page, located);
});

it("takes a camera's frames, lets go of them, and sees in them what is in the file", async () => {
  const [frame, width, file] = await page.evaluate(async (photo) => {
    const blob = await (await fetch(photo)).blob();
    const bitmap = await createImageBitmap(blob);
    const frame = await globalThis.engine.locate([bitmap]);
    return [frame, bitmap.width, await globalThis.engine.locate([blob])] as const;
  }, PHOTO);
  expect(width).toBe(0);
  // Browsers decode JPEG a little differently.
  expect(frame.place).toBe(file.place);
  expect(Math.abs(Math.log(frame.cells[0]!.p / file.cells[0]!.p))).toBeLessThan(0.1);
});

/** `npm run measure` has the long run. */
it("keeps its memory flat", async () => {
  const many = 40;
  const megabytes = await page.evaluate(async ([photo, many]) => {
    type Measuring = { measureUserAgentSpecificMemory(): Promise<{ bytes: number }> };
    const measure = async () => (await (performance as unknown as Measuring).measureUserAgentSpecificMemory()).bytes / 1e6;
    const blob = await (await fetch(photo)).blob();
    const answer = async (times: number) => {
      for (let i = 0; i < times; i++) await globalThis.engine.locate([i % 2 ? blob : await createImageBitmap(blob)]);
    };
    await answer(4);
    const before = await measure();
    await answer(many);
    return [before, await measure()] as const;
  }, [PHOTO, many] as const);
  console.log(`memory before and after ${many} inferences: ${megabytes.map((mb) => mb.toFixed(1)).join(" and ")} MB`);
  expect(megabytes[1] - megabytes[0]).toBeLessThan(8);
});

it("answers with threads what it answers without", async () => {
  const [status, threads, one] = await page.evaluate(async (photo) => {
    const blob = await (await fetch(photo)).blob();
    const many = globalThis.createEngine({ backend: "wasm-threads" });
    const status = await many.load("pocket", () => undefined);
    const threads = await many.locate([blob]);
    many.close();
    return [status, threads, await globalThis.engine.locate([blob])] as const;
  }, PHOTO);
  expect(status.backend).toBe("wasm-threads");
  expect(status.threads).toBeGreaterThan(1);
  expect({ ...threads, ms: null }).toEqual({ ...one, ms: null });
});

it("answers bad pictures with a sentence and goes on", async () => {
  const photo = readFileSync(new URL(`../../..${PHOTO}`, import.meta.url));
  const heic = Buffer.from("000000186674797068656963000000006d69663168656963", "hex");
  for (const [file, says] of [
    [Buffer.from("no picture at all"), /^unreadable: This file is no picture/],
    [Buffer.alloc(0), /^unreadable: This file is no picture/],
    [photo.subarray(0, 90), /^unreadable: This file is no picture/],
    [heic, /^unreadable: HEIC pictures cannot be read by this browser: pick a JPEG/],
    [plain(10_000, 10_000), /^too-large: The picture has 100 megapixels, 64 at most/],
  ] as const) {
    expect(await locate(page, file)).toMatch(says);
  }
  // Tiny and narrow ones are pictures; one of 36 megapixels goes through the browser's decoder.
  for (const file of [plain(1, 1), plain(1, 3000), plain(6000, 6000)]) expect(await locate(page, file)).toHaveProperty("place");
  expect(await locate(page, PHOTO, PHOTO)).toMatchObject({ place: "near Rome, Italy", views: 2 });
  expect(await locate(page)).toMatch(/^unreadable: There is no picture/);
});

/** `npm run measure` asks for all of them: one takes the processor for seconds. */
it("says what landfall locate says with the large model, too", async () => {
  expect(await load(page, "desktop")).toBeNull();
  const located = golden("desktop");
  expect(located.length).toBe(52);
  await agree(page, located.filter((_, i) => i % 7 === 0));
}, 300_000);
