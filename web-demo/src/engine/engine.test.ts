// The engine in a real browser when the network, the storage or another tab is in its way; and what it must never do.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { BrowserContext } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { createEngine } from ".";
import { load, locate, PHOTO, stop } from "./testing/engine-page";
import { type Meddle, Served } from "./testing/harness-server";
import type { Engine } from "./types";

declare const globalThis: { createEngine: typeof createEngine; engine: Engine };

const ENCODER = JSON.parse(readFileSync(new URL("../../../model/bundles/pocket/bundle.json", import.meta.url), "utf8")).encoder;
let served: Served;

beforeAll(async () => void (served = await Served.start()));
afterAll(() => served.stop());
beforeEach(() => {
  served.meddle = () => false;
  served.asked = [];
  served.isolated = true;
});

const asked = (file: string) => served.asked.filter((path) => path.endsWith(file)).length;
const away: Meddle = (path, request) => path.includes("/bundles/") && (request.socket.destroy(), true);

// Each goes on with what the one before has left in the storage.
describe("one profile, from its first visit on,", () => {
  let context: BrowserContext;
  const tab = async () => (await served.open(context)).page;
  beforeAll(async () => void ({ context } = await served.open()));
  afterAll(() => context.close());

  it("says when there is no network", async () => {
    served.meddle = away;
    const [page] = context.pages();
    expect(await load(page!)).toMatch(/^network: The list of models cannot be fetched: check the connection/);
  });

  it("says when what computes cannot be fetched, and fetches it when it can", async () => {
    const [page] = context.pages();
    served.meddle = (path, request) => /ort-.*\.wasm$/.test(path) && (request.socket.destroy(), true);
    const refused = load(page!);
    const other = page!.evaluate(() => globalThis.engine.bundles());
    expect(await refused).toMatch(/^network: The part that computes cannot be fetched: check the connection/);
    expect(await other, "what is asked meanwhile goes on").toMatchObject([{ name: "pocket" }]);
    // Whether it can be computed now shows below.
    await page!.evaluate(() => globalThis.engine.clear());
  });

  it("says that a download broke off, keeps what came and goes on from there", async () => {
    const [page] = context.pages();
    const half = ENCODER.bytes / 2;
    const ranges: (string | undefined)[] = [];
    let broken = true;
    served.meddle = (path, request, response) => {
      if (!path.endsWith("encoder.onnx")) return false;
      ranges.push(request.headers.range);
      if (!broken) return false;
      // The first half, once; then nothing any more.
      const from = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
      if (from > 0) return !!request.socket.destroy();
      response.writeHead(200, { "Content-Length": ENCODER.bytes });
      response.write(readFileSync(join(served.folder, "bundles/pocket/encoder.onnx")).subarray(0, half));
      setTimeout(() => request.socket.destroy(), 300);
      return true;
    };
    // A browser drops what it had not read yet of those 2.1 MB.
    const told = await load(page!);
    expect(told).toMatch(/^network: The model's encoder.onnx stopped arriving after [0-2]\.\d of 4\.3 MB: check the connection/);
    broken = false;
    ranges.length = 0;
    expect(await load(page!)).toBeNull();
    const from = Number(/^bytes=(\d+)-$/.exec(ranges.join())?.[1]);
    expect(from).toBeGreaterThan(0);
    expect(from).toBeLessThanOrEqual(half);
    expect(told).toContain(`after ${(from / 1e6).toFixed(1)} of`);
    expect(await locate(page!, PHOTO)).toHaveProperty("place");
  });

  it("needs no network once it has its model", async () => {
    served.meddle = away;
    const page = await tab();
    expect(await load(page)).toBeNull();
    expect(await locate(page, PHOTO)).toHaveProperty("place");
    await stop(page);
  });

  it("fetches a model anew that was spoilt in the storage, and says when the server has a wrong one", async () => {
    const [page] = context.pages();
    const spoil = () =>
      page!.evaluate(async (sha256) => {
        const store = await caches.open("landfall-models");
        const key = (await store.keys()).find(({ url }) => url.endsWith(sha256))!;
        const bytes = new Uint8Array(await (await store.match(key))!.arrayBuffer());
        bytes[1_000_000]! ^= 1;
        await store.put(key, new Response(bytes));
        await store.put(key.url.replace(sha256, "0".repeat(64)), new Response(bytes));
      }, ENCODER.sha256);
    await spoil();
    const again = await tab();
    expect(await load(again)).toBeNull();
    expect([asked("encoder.onnx"), asked("head.onnx")]).toEqual([1, 0]);
    const kept = await again.evaluate(async () => (await (await caches.open("landfall-models")).keys()).map(({ url }) => url));
    expect(kept.length, "what no bundle needs is gone").toBe(4);
    expect(await locate(again, PHOTO)).toHaveProperty("place");

    await spoil();
    served.meddle = (path, _, response) => path.endsWith("encoder.onnx") && (response.end(Buffer.alloc(ENCODER.bytes)), true);
    expect(await load(await tab())).toMatch(/^corrupt: The model's encoder.onnx arrives damaged/);
    expect(await locate(again, PHOTO), "the tab that has it goes on").toHaveProperty("place");
  });
});

it("lets two tabs load at once, for one download", async () => {
  const { page, context } = await served.open();
  const other = (await served.open(context)).page;
  expect(await Promise.all([load(page), load(other)])).toEqual([null, null]);
  expect(["cells.json", "head.onnx", "encoder.onnx"].map(asked)).toEqual([1, 1, 1]);
  const [one, two] = await Promise.all([locate(page, PHOTO), locate(other, PHOTO)]);
  expect(one).toMatchObject({ place: "near Rome, Italy" });
  expect(two).toMatchObject({ place: "near Rome, Italy" });
  const listed = () => page.evaluate(() => globalThis.engine.bundles());
  expect(await listed()).toMatchObject([{ name: "pocket", bytes: expect.any(Number), cached: true }]);
  await page.evaluate(() => globalThis.engine.clear());
  expect(await listed()).toMatchObject([{ name: "pocket", bytes: expect.any(Number), cached: false }]);
  await context.close();
});

it("works without room in the storage and says so", async () => {
  const { page, context } = await served.open();
  const session = await context.newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: served.origin, quotaSize: 1_000_000 });
  const status = await page.evaluate(async () => {
    globalThis.engine = globalThis.createEngine();
    return globalThis.engine.load("pocket", () => undefined);
  });
  expect(status.note).toMatch(/no room for the model: it works now/);
  expect(await locate(page, PHOTO)).toHaveProperty("place");
  await context.close();
});

it("works at an address that browsers do not trust, and keeps nothing", async () => {
  const { page, context } = await served.open(undefined, false);
  expect(await page.evaluate(() => [isSecureContext, "caches" in globalThis])).toEqual([false, false]);
  const status = await page.evaluate(() => {
    globalThis.engine = globalThis.createEngine();
    return globalThis.engine.load("pocket", () => undefined);
  });
  expect(status.note).toMatch(/keeps nothing for this page/);
  expect(await locate(page, PHOTO)).toMatchObject({ place: "near Rome, Italy" });
  await context.close();
});

it("asks nothing of anyone else, from a host without special headers, under 30 MB", async () => {
  served.isolated = false;
  const { page, context } = await served.open();
  const requests: string[] = [];
  let bytes = 0;
  page.on("request", (request) => requests.push(request.url()));
  context.on("request", (request) => requests.push(request.url()));
  context.on("response", (response) => void (bytes += Number(response.headers()["content-length"] ?? 0)));
  await page.reload();
  const status = await page.evaluate(() => {
    globalThis.engine = globalThis.createEngine();
    return globalThis.engine.load("pocket", () => undefined);
  });
  expect(status).toMatchObject({ bundle: "pocket", backend: "wasm", threads: 1, note: null });
  expect(await locate(page, PHOTO)).toHaveProperty("place");
  expect(requests.length).toBeGreaterThan(8);
  expect(requests.filter((url) => !url.startsWith(`${served.origin}/`) && !url.startsWith("data:"))).toEqual([]);
  console.log(`first load: ${(bytes / 1e6).toFixed(1)} MB`);
  expect(bytes).toBeGreaterThan(20e6);
  expect(bytes).toBeLessThan(30e6);
  await context.close();
});
