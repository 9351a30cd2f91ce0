// The engine in a real browser when things go wrong: pictures, networks, storage, two tabs; and what it must never do.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32, deflateSync } from "node:zlib";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { createEngine } from ".";
import { type Meddle, Served } from "./testing/served";
import type { Answer, Engine } from "./types";

declare const globalThis: { createEngine: typeof createEngine; engine: Engine };

const PHOTO = "/fixtures/rounds/rome-colosseum/view_000.jpg";
const ENCODER = JSON.parse(readFileSync(new URL("../../../model/bundles/pocket/bundle.json", import.meta.url), "utf8")).encoder;
let served: Served;

beforeAll(async () => void (served = await Served.start()), 180_000);
afterAll(() => served.stop());
beforeEach(() => {
  served.meddle = () => false;
  served.asked = [];
  served.isolated = true;
});

/** `kind: message` of the error, or `null`. */
async function load(page: Page): Promise<string | null> {
  return page.evaluate(async () => {
    globalThis.engine ??= globalThis.createEngine({ backend: "wasm" });
    return globalThis.engine.load("pocket", () => undefined).then(() => null, (error) => `${error.kind}: ${error.message}`);
  });
}

async function locate(page: Page, ...files: (string | Buffer)[]): Promise<Answer | string> {
  const given = files.map((file) => (typeof file === "string" ? file : `data:;base64,${file.toString("base64")}`));
  return page.evaluate(async (given) => {
    const read = async (address: string) => {
      if (!address.startsWith("data:")) return (await fetch(address)).blob();
      return new Blob([Uint8Array.from(atob(address.split(",")[1]!), (char) => char.charCodeAt(0))]);
    };
    const views = await Promise.all(given.map(read));
    return globalThis.engine.locate(views).catch((error) => `${error.kind}: ${error.message}`);
  }, given);
}

/** A black PNG of one bit a pixel, quick to make however large. */
function png(width: number, height: number): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  const rows = deflateSync(Buffer.alloc(height * (1 + Math.ceil(width / 8))));
  const signature = Buffer.from("89504e470d0a1a0a", "hex");
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", rows), chunk("IEND", Buffer.alloc(0))]);
}

const asked = (file: string) => served.asked.filter((path) => path.endsWith(file)).length;

it("answers bad pictures with a sentence and goes on", { timeout: 180_000 }, async () => {
  const { page, context } = await served.open();
  await load(page);
  const photo = readFileSync(join(import.meta.dirname, "../../..", PHOTO));
  const heic = Buffer.from("000000186674797068656963000000006d69663168656963", "hex");
  for (const [file, says] of [
    [Buffer.from("no picture at all"), /^unreadable: This file is no picture/],
    [Buffer.alloc(0), /^unreadable: This file is no picture/],
    [photo.subarray(0, 90), /^unreadable: This file is no picture/],
    [heic, /^unreadable: HEIC pictures cannot be read by this browser: pick a JPEG/],
    [png(10_000, 10_000), /^too-large: The picture has 100 megapixels, 64 at most/],
  ] as const) {
    expect(await locate(page, file)).toMatch(says);
  }
  // Tiny and narrow ones are pictures; one of 36 megapixels goes through the browser's decoder.
  for (const file of [png(1, 1), png(1, 3000), png(6000, 6000)]) expect(await locate(page, file)).toHaveProperty("place");
  expect(await locate(page, PHOTO, PHOTO)).toMatchObject({ place: "near Rome, Italy", views: 2 });
  expect(await locate(page)).toMatch(/^unreadable: There is no picture/);
  await context.close();
});

it("takes a camera's frames, lets go of them, and sees in them what is in the file", { timeout: 180_000 }, async () => {
  const { page, context } = await served.open();
  await load(page);
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
  await context.close();
});

it("says that a download broke off, keeps what came and goes on from there", { timeout: 180_000 }, async () => {
  const { page, context } = await served.open();
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
  expect(await load(page)).toMatch(/^network: The model's encoder.onnx stopped arriving after 2.1 of 4.3 MB: check the connection/);
  broken = false;
  ranges.length = 0;
  expect(await load(page)).toBeNull();
  expect(ranges).toEqual([`bytes=${half}-`]);
  expect(await locate(page, PHOTO)).toHaveProperty("place");
  await context.close();
});

it("says when there is no network, and needs none once it has its model", { timeout: 180_000 }, async () => {
  const { page, context } = await served.open();
  const away: Meddle = (path, request) => path.includes("/bundles/") && (request.socket.destroy(), true);
  served.meddle = away;
  expect(await load(page)).toMatch(/^network: The list of models cannot be fetched: check the connection/);
  served.meddle = () => false;
  expect(await load(page)).toBeNull();
  served.meddle = away;
  const other = (await served.open(context)).page;
  expect(await load(other)).toBeNull();
  expect(await locate(other, PHOTO)).toHaveProperty("place");
  await context.close();
});

it("fetches a model anew that was spoilt in the storage, and says when the server has a wrong one", { timeout: 180_000 }, async () => {
  const { page, context } = await served.open();
  await load(page);
  expect(asked("encoder.onnx")).toBe(1);
  const spoil = () =>
    page.evaluate(async (sha256) => {
      const store = await caches.open("landfall-models");
      const key = (await store.keys()).find(({ url }) => url.endsWith(sha256))!;
      const bytes = new Uint8Array(await (await store.match(key))!.arrayBuffer());
      bytes[1_000_000]! ^= 1;
      await store.put(key, new Response(bytes));
      await store.put(key.url.replace(sha256, "0".repeat(64)), new Response(bytes));
    }, ENCODER.sha256);
  await spoil();
  const again = (await served.open(context)).page;
  expect(await load(again)).toBeNull();
  expect([asked("encoder.onnx"), asked("head.onnx")]).toEqual([2, 1]);
  const kept = await again.evaluate(async () => (await (await caches.open("landfall-models")).keys()).map(({ url }) => url));
  expect(kept.length, "what no bundle needs is gone").toBe(4);
  expect(await locate(again, PHOTO)).toHaveProperty("place");

  await spoil();
  served.meddle = (path, _, response) => path.endsWith("encoder.onnx") && (response.end(Buffer.alloc(ENCODER.bytes)), true);
  expect(await load((await served.open(context)).page)).toMatch(/^corrupt: The model's encoder.onnx arrives damaged/);
  expect(await locate(again, PHOTO), "the tab that has it goes on").toHaveProperty("place");
  await context.close();
});

it("lets two tabs load at once, for one download", { timeout: 180_000 }, async () => {
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

it("works without room in the storage and says so", { timeout: 180_000 }, async () => {
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

/** LANDFALL_INFERENCES=500 for the long run. */
it("keeps its memory flat", { timeout: 1_200_000 }, async () => {
  const { page, context } = await served.open();
  await load(page);
  const many = Number(process.env["LANDFALL_INFERENCES"] ?? 40);
  const megabytes = await page.evaluate(async ([photo, many]) => {
    type Measuring = { measureUserAgentSpecificMemory(): Promise<{ bytes: number }> };
    const measure = async () => (await (performance as unknown as Measuring).measureUserAgentSpecificMemory()).bytes / 1e6;
    const blob = await (await fetch(photo)).blob();
    const answer = async (times: number) => {
      for (let i = 0; i < times; i++) await globalThis.engine.locate([i % 2 ? blob : await createImageBitmap(blob)]);
    };
    await answer(10);
    const before = await measure();
    await answer(many);
    return [before, await measure()] as const;
  }, [PHOTO, many] as const);
  console.log(`memory before and after ${many} inferences: ${megabytes.map((mb) => mb.toFixed(1)).join(" and ")} MB`);
  expect(megabytes[1] - megabytes[0]).toBeLessThan(8);
  await context.close();
});

it("works at an address that browsers do not trust, and keeps nothing", { timeout: 180_000 }, async () => {
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

it("answers with threads what it answers without", { timeout: 180_000 }, async () => {
  const { page, context } = await served.open();
  const [status, threads, one] = await page.evaluate(async (photo) => {
    const blob = await (await fetch(photo)).blob();
    const [many, single] = (["wasm-threads", "wasm"] as const).map((backend) => globalThis.createEngine({ backend }));
    const status = await many!.load("pocket", () => undefined);
    await single!.load("pocket", () => undefined);
    return [status, await many!.locate([blob]), await single!.locate([blob])] as const;
  }, PHOTO);
  expect(status.backend).toBe("wasm-threads");
  expect(status.threads).toBeGreaterThan(1);
  expect({ ...threads, ms: null }).toEqual({ ...one, ms: null });
  await context.close();
});

it("asks nothing of anyone else, from a host without special headers, under 30 MB", { timeout: 180_000 }, async () => {
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
