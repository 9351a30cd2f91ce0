// The engine in a real browser: failures of network and storage, several tabs, and requests to other origins.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { BrowserContext } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { createEngine } from ".";
import { load, locate, PHOTO, stop } from "./testing/engine-page";
import { type Interceptor, HarnessServer } from "./testing/harness-server";
import type { OpenedBundle } from "./opened-bundle";
import type { Engine } from "./types";

declare const globalThis: { createEngine: typeof createEngine; engine: Engine; OpenedBundle: typeof OpenedBundle };

const ENCODER = JSON.parse(
  readFileSync(new URL("../../../model/bundles/pocket/bundle.json", import.meta.url), "utf8"),
).encoder;
let server: HarnessServer;

beforeAll(async () => void (server = await HarnessServer.start()));
afterAll(() => server.stop());
beforeEach(() => {
  server.intercept = () => false;
  server.requestedPaths = [];
  server.isolated = true;
});

const countRequests = (file: string) => server.requestedPaths.filter((path) => path.endsWith(file)).length;
const noNetwork: Interceptor = (path, request) => path.includes("/bundles/") && (request.socket.destroy(), true);

// Each test continues with the storage that the previous one left behind.
describe("one browser profile, from the first visit", () => {
  let context: BrowserContext;
  const tab = async () => (await server.open(context)).page;
  beforeAll(async () => void ({ context } = await server.open()));
  afterAll(() => context.close());

  it("reports a missing network connection", async () => {
    server.intercept = noNetwork;
    const [page] = context.pages();
    expect(await load(page!)).toMatch(/^network: The list of models could not be downloaded: check the connection/);
  });

  it("reports that the runtime could not be downloaded, and downloads it later", async () => {
    const [page] = context.pages();
    server.intercept = (path, request) => /ort-.*\.wasm$/.test(path) && (request.socket.destroy(), true);
    const refused = load(page!);
    const other = page!.evaluate(() => globalThis.engine.bundles());
    expect(await refused).toMatch(/^network: The inference runtime could not be downloaded: check the connection/);
    expect(await other, "other calls continue").toMatchObject([{ name: "pocket" }]);
    // The next tests show that the runtime works now.
    await page!.evaluate(() => globalThis.engine.clear());
  });

  it("reports an interrupted download and resumes it", async () => {
    const [page] = context.pages();
    const half = ENCODER.bytes / 2;
    const ranges: (string | undefined)[] = [];
    let isBroken = true;
    server.intercept = (path, request, response) => {
      if (!path.endsWith("encoder.onnx")) return false;
      ranges.push(request.headers.range);
      if (!isBroken) return false;
      // Serve the first half once, then nothing.
      const from = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
      if (from > 0) return !!request.socket.destroy();
      response.writeHead(200, { "Content-Length": ENCODER.bytes });
      response.write(readFileSync(join(server.folder, "bundles/pocket/encoder.onnx")).subarray(0, half));
      setTimeout(() => request.socket.destroy(), 300);
      return true;
    };
    // The browser drops the part of those 2.1 MB that it had not read yet.
    const toErrorReply = await load(page!);
    expect(toErrorReply).toMatch(
      /^network: The download of the model's encoder.onnx stopped after [0-2]\.\d of 4\.3 MB: check the connection/,
    );
    isBroken = false;
    ranges.length = 0;
    expect(await load(page!)).toBeNull();
    const from = Number(/^bytes=(\d+)-$/.exec(ranges.join())?.[1]);
    expect(from).toBeGreaterThan(0);
    expect(from).toBeLessThanOrEqual(half);
    expect(toErrorReply).toContain(`after ${(from / 1e6).toFixed(1)} of`);
    expect(await locate(page!, PHOTO)).toHaveProperty("place");
  });

  it("works offline once the model is stored", async () => {
    server.intercept = noNetwork;
    const page = await tab();
    expect(await load(page)).toBeNull();
    expect(await locate(page, PHOTO)).toHaveProperty("place");
    await stop(page);
  });

  it("downloads a model again that is corrupt in the storage, and reports a corrupt file on the server", async () => {
    const [page] = context.pages();
    const corruptStored = () =>
      page!.evaluate(async (sha256) => {
        const store = await caches.open("landfall-models");
        const key = (await store.keys()).find(({ url }) => url.endsWith(sha256))!;
        const bytes = new Uint8Array(await (await store.match(key))!.arrayBuffer());
        bytes[1_000_000]! ^= 1;
        await store.put(key, new Response(bytes));
        await store.put(key.url.replace(sha256, "0".repeat(64)), new Response(bytes));
      }, ENCODER.sha256);
    await corruptStored();
    const secondTab = await tab();
    expect(await load(secondTab)).toBeNull();
    expect([countRequests("encoder.onnx"), countRequests("head.onnx")]).toEqual([1, 0]);
    const storedUrls = await secondTab.evaluate(async () =>
      (await (await caches.open("landfall-models")).keys()).map(({ url }) => url),
    );
    const files = storedUrls.filter((url) => !url.includes("/opened/"));
    expect(files.length, "files that no bundle needs are deleted").toBe(4);
    expect(await locate(secondTab, PHOTO)).toHaveProperty("place");

    await corruptStored();
    server.intercept = (path, _, response) =>
      path.endsWith("encoder.onnx") && (response.end(Buffer.alloc(ENCODER.bytes)), true);
    expect(await load(await tab())).toMatch(/^corrupt: The model's encoder.onnx was corrupt after two downloads/);
    expect(await locate(secondTab, PHOTO), "the tab that has loaded it still works").toHaveProperty("place");
  });
});

it("downloads once when two tabs load at the same time", async () => {
  const { page, context } = await server.open();
  const other = (await server.open(context)).page;
  expect(await Promise.all([load(page), load(other)])).toEqual([null, null]);
  expect(["cells.json", "head.onnx", "encoder.onnx"].map(countRequests)).toEqual([1, 1, 1]);
  const [one, two] = await Promise.all([locate(page, PHOTO), locate(other, PHOTO)]);
  expect(one).toMatchObject({ place: "near Rome, Italy" });
  expect(two).toMatchObject({ place: "near Rome, Italy" });
  const listed = () => page.evaluate(() => globalThis.engine.bundles());
  expect(await listed()).toMatchObject([{ name: "pocket", bytes: expect.any(Number), cached: true }]);
  await page.evaluate(() => globalThis.engine.clear());
  expect(await listed()).toMatchObject([{ name: "pocket", bytes: expect.any(Number), cached: false }]);
  await context.close();
});

it("stores what opening a bundle computed, until the code, the bundle or the browser changes", async () => {
  const { page, context } = await server.open();
  const found = await page.evaluate(async () => {
    const open = async (manifest: number, code: string) =>
      (await globalThis.OpenedBundle.open(`${location.origin}/b/`, "phone", Uint8Array.of(manifest), code))!;
    const network = async (of: OpenedBundle) => [...((await of.network()) ?? [])];
    const opened = await open(1, "a");
    await opened.storeNetwork(Uint8Array.of(7, 8, 9));
    await opened.storeVerified("wasm", "runtime-1");
    const verified = await Promise.all([
      opened.isVerified("wasm", "runtime-1"),
      opened.isVerified("wasm", "runtime-2"),
      opened.isVerified("wasm-threads", "runtime-1"),
    ]);
    const networks = [await network(opened), await network(await open(1, "a"))];
    const store = await caches.open("landfall-models");
    const [{ url }] = (await store.keys()).filter(({ url }) => url.endsWith("/network")) as [Request];
    const { headers } = (await store.match(url))!;
    await store.put(url, new Response(Uint8Array.of(7, 8, 0), { headers }));
    networks.push(await network(opened));
    await opened.storeNetwork(Uint8Array.of(7, 8, 9));
    for (const [manifest, code] of [[2, "a"], [1, "b"], [1, "a"]] as const) {
      const other = await open(manifest, code);
      networks.push(await network(other));
      verified.push(await other.isVerified("wasm", "runtime-1"));
    }
    return { networks, verified };
  });
  expect(found.networks).toEqual([[7, 8, 9], [7, 8, 9], [], [], [], []]);
  expect(found.verified).toEqual([true, false, false, false, false, false]);
  await context.close();
});

it("works with full storage and reports it", async () => {
  const { page, context } = await server.open();
  const session = await context.newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin, quotaSize: 1_000_000 });
  const status = await page.evaluate(async () => {
    globalThis.engine = globalThis.createEngine();
    return globalThis.engine.load("pocket");
  });
  expect(status.note).toMatch(/storage is full: the model works now/);
  expect(await locate(page, PHOTO)).toHaveProperty("place");
  await context.close();
});

it("works on an insecure origin, without storage", async () => {
  const { page, context } = await server.open(undefined, false);
  expect(await page.evaluate(() => [isSecureContext, "caches" in globalThis])).toEqual([false, false]);
  const status = await page.evaluate(() => {
    globalThis.engine = globalThis.createEngine();
    return globalThis.engine.load("pocket");
  });
  expect(status.note).toMatch(/stores nothing for this page/);
  expect(await locate(page, PHOTO)).toMatchObject({ place: "near Rome, Italy" });
  await context.close();
});

it("sends no request to another origin and loads under 30 MB, on a host without special headers", async () => {
  server.isolated = false;
  const { page, context } = await server.open();
  const requests: string[] = [];
  let bytes = 0;
  page.on("request", (request) => requests.push(request.url()));
  context.on("request", (request) => requests.push(request.url()));
  context.on("response", (response) => void (bytes += Number(response.headers()["content-length"] ?? 0)));
  await page.reload();
  const status = await page.evaluate(() => {
    globalThis.engine = globalThis.createEngine();
    return globalThis.engine.load("pocket");
  });
  expect(status).toMatchObject({ bundle: "pocket", backend: "wasm", threads: 1, note: null });
  expect(await locate(page, PHOTO)).toHaveProperty("place");
  expect(requests.length).toBeGreaterThan(8);
  expect(requests.filter((url) => !url.startsWith(`${server.origin}/`) && !url.startsWith("data:"))).toEqual([]);
  console.log(`first load: ${(bytes / 1e6).toFixed(1)} MB`);
  expect(bytes).toBeGreaterThan(20e6);
  expect(bytes).toBeLessThan(30e6);
  await context.close();
});
