// The built page on browsers, cameras and hosts with one peculiarity each.

import type { Page } from "playwright-core";
import { afterEach, describe, expect, inject, it } from "vitest";
import { choosePhotos, open, predictedPlace, ready, useBrowser, type Visit } from "./visit.ts";
import { fixture } from "./images.ts";
import { serve, type Host, type Interception } from "./static-server.ts";

useBrowser();

let host: Host;
let visit: Visit;

/** Opens the page at a host, after `before`. Without a service worker, unless it is what is tested, to be faster. */
async function visitPage(
  interception: Interception = {},
  before?: (page: Page) => Promise<unknown>,
  serviceWorkers: "allow" | "block" = "block",
): Promise<Page> {
  host = await serve(inject("dist"), interception);
  visit = await open({ at: host.base, permissions: ["camera"], serviceWorkers }, before);
  return visit.page;
}

afterEach(async () => {
  await visit.context.close();
  host.server.close();
});

/** Runs code in the engine's worker before its own. */
const inWorker = (code: string): Interception => ({
  change: (file, bytes) => (/assets\/worker-[^/]*\.js$/.test(file) ? `${code};\n${bytes.toString()}` : bytes),
});

describe("threads", () => {
  // As a phone has.
  const CORES = 'Object.defineProperty(navigator, "hardwareConcurrency", { value: 4 });';
  const SILENT =
    "globalThis.Worker = class extends EventTarget { constructor() { super(); this.onmessage = null; } postMessage() {} terminate() {} }";
  const REFUSED = 'globalThis.Worker = class { constructor() { throw new DOMException("", "SecurityError"); } }';

  it.each([
    ["a worker cannot start workers", "globalThis.Worker = undefined", 1],
    ["a policy forbids workers in workers", REFUSED, 1],
    ["threads never start", SILENT, 1],
    ["nothing is missing", "", 3],
  ])("are used only where they work: %s", async (_, code, threads) => {
    const page = await visitPage({ ...inWorker(`${CORES}${code}`), isolated: true });
    await ready(page);
    await page.getByRole("button", { name: "Settings" }).click();
    expect(await page.locator(".settings > p").first().textContent()).toContain(`${threads} thread`);
  });
});

describe("backends are compared with a known answer", () => {
  const CORES = 'Object.defineProperty(navigator, "hardwareConcurrency", { value: 4 });';
  /** Runs `code` when the runtime has copied the encoder's output, of 512 floats. */
  const onOutput = (code: string, withThreadsOnly: boolean) => `{
    let applies = ${!withThreadsOnly};
    const { Worker } = globalThis;
    globalThis.Worker = class extends Worker { constructor(...of) { super(...of); applies = true; } };
    const typed = Object.getPrototypeOf(Uint8Array.prototype);
    const { set } = typed;
    typed.set = function (source, ...of) {
      set.call(this, source, ...of);
      if (applies && this.byteLength === 2048) ${code};
    };
  }`;
  const WRONG = "this.reverse()";
  const HANGS = "for (;;);";
  /** The seconds of the time limit are shorter. */
  const FAST = "{ const { setInterval } = globalThis; globalThis.setInterval = (f, ms) => setInterval(f, ms / 10); }";

  it.each([
    ["compute wrongly", WRONG, "Not used: several threads (computes wrongly).", true],
    ["hang", HANGS, "Not used: several threads (does not start).", false],
  ])("threads that %s are not used, also on later visits", async (_, code, text, isNoted) => {
    let workers = 0;
    const page = await visitPage(
      {
        ...inWorker(CORES + onOutput(code, true)),
        isolated: true,
        before: (file) => void (/assets\/worker-/.test(file) && workers++),
      },
      (page) => page.addInitScript(FAST),
    );
    for (const expectedWorkers of [2, 3]) {
      await ready(page);
      const status = await page.locator(".status").textContent();
      expect(status).toContain("CPU, 1 thread");
      expect(status!.includes(text)).toBe(isNoted);
      await page.getByRole("button", { name: "Settings" }).click();
      expect(await page.locator(".settings > p").first().textContent()).toBe(`Backend: CPU, 1 thread. ${text}`);
      expect(workers).toBe(expectedWorkers);
      await page.reload();
    }
    await page.getByRole("button", { name: "Example 1" }).click();
    expect(await predictedPlace(page)).toBe("Somewhere in Europe");
  });

  it("no answer is given if none of them computes correctly", async () => {
    const page = await visitPage(inWorker(onOutput(WRONG, false)));
    await page.locator(".status [role=alert]").waitFor();
    expect(await page.locator(".status").textContent()).toContain("This browser computes the model wrongly: update it");
  });
});

describe("old and restricted browsers are told what to do", () => {
  const NO_SIMD =
    "const { validate } = WebAssembly; WebAssembly.validate = (bytes) => bytes.byteLength > 200 && validate(bytes)";
  const NO_MEMORY =
    "const { Memory } = WebAssembly; WebAssembly.Memory = function (of) { if (of.shared) throw new RangeError(); return new Memory(of); }";

  it.each([
    ["without SIMD", NO_SIMD, "This browser is too old for the models: update it (Safari 16.4,"],
    ["without WebAssembly", "delete globalThis.WebAssembly", "WebAssembly is turned off in this browser"],
    ["without memory", NO_MEMORY, "There is not enough memory for this model: close other tabs and apps"],
  ])("%s", async (_, code, message) => {
    const page = await visitPage(inWorker(code));
    await page.locator(".status [role=alert]").waitFor();
    expect(await page.locator(".status").textContent()).toContain(message);
  });

  const NOISE =
    "const { prototype } = OffscreenCanvasRenderingContext2D; const read = prototype.getImageData; " +
    "prototype.getImageData = function (...of) { const image = read.apply(this, of); image.data.forEach((_, i) => (image.data[i] ^= i & 15)); return image; }";

  it.each([
    ["without a canvas in workers", "delete globalThis.OffscreenCanvas", "This browser is too old for camera images"],
    ["that alter pixels", NOISE, "This browser alters the images that pages read"],
  ])("%s: the camera is not used, photo files are located", async (_, code, message) => {
    const page = await visitPage(inWorker(code));
    await ready(page);
    await page.getByRole("button", { name: "Camera" }).click();
    await page.getByRole("alert").waitFor();
    expect(await page.getByRole("alert").textContent()).toContain(message);
    await page.getByRole("button", { name: "Close camera" }).click();
    await choosePhotos(page, "Photos", fixture("rome-colosseum"));
    expect(await predictedPlace(page)).toBe("Somewhere in Europe");
  });
});

describe("cameras", () => {
  /** Replaces the camera by a canvas that `draw` paints 25 times a second; `muted` can be set by the test. */
  const camera = (draw: string) => `
    navigator.mediaDevices.getUserMedia = async () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [640, 480];
      const context = canvas.getContext("2d");
      const start = performance.now();
      setInterval(() => { ${draw} }, 40);
      const stream = canvas.captureStream(25);
      const [track] = stream.getVideoTracks();
      Object.defineProperty(track, "muted", { get: () => !!globalThis.muted });
      return stream;
    };`;
  const COLOURS = "context.fillStyle = `hsl(${Math.random() * 360} 50% 50%)`; context.fillRect(0, 0, 640, 480);";
  const hint = (page: Page, text: string) => page.locator(".hint", { hasText: text }).waitFor();

  it("whose permission is not given are pointed out", async () => {
    const page = await visitPage({}, (page) =>
      page.addInitScript("navigator.mediaDevices.getUserMedia = () => new Promise(() => {})"),
    );
    await ready(page);
    await page.getByRole("button", { name: "Camera" }).click();
    await page.locator(".notice", { hasText: "The browser asks whether this page may use the camera" }).waitFor();
    await page.getByRole("button", { name: "Example 1" }).click();
    expect(await predictedPlace(page)).toBe("Somewhere in Europe");
  });

  it("whose first image comes late are waited for", async () => {
    const late = `if (performance.now() - start > 4000) { ${COLOURS} }`;
    const page = await visitPage({}, (page) => page.addInitScript(camera(late)));
    await ready(page);
    await page.getByRole("button", { name: "Camera" }).click();
    await hint(page, "Waiting for the camera's first image");
    expect(await predictedPlace(page)).toMatch(/\w/);
  });

  it("that are muted or covered are not answered, and then continue", async () => {
    const draw = `if (globalThis.dark) { context.fillStyle = "#000"; context.fillRect(0, 0, 640, 480); } else { ${COLOURS} }`;
    const page = await visitPage({}, (page) => page.addInitScript(camera(draw)));
    await ready(page);
    await page.getByRole("button", { name: "Camera" }).click();
    await predictedPlace(page);
    for (const [state, text] of [
      ["muted", "The camera is paused: close other apps"],
      ["dark", "nothing but black"],
    ] as const) {
      await page.evaluate(`globalThis.${state} = true`);
      await hint(page, text);
      expect(await page.locator(".prediction").count()).toBe(0);
      await page.getByRole("button", { name: "Take photo" }).click();
      expect(await page.getByRole("alert").textContent()).toContain(text);
      await page.evaluate(`globalThis.${state} = false`);
      await predictedPlace(page);
    }
  });
});

describe("hosts", () => {
  it("may redirect index.html to its folder", async () => {
    const page = await visitPage({ hidesIndex: true }, undefined, "allow");
    await ready(page);
    await page.locator(".status", { hasText: "works offline" }).waitFor();
    await page.reload();
    await ready(page);
    const redirected = await page.evaluate(async () => {
      const found: string[] = [];
      for (const name of await caches.keys()) {
        const cache = await caches.open(name);
        for (const request of await cache.keys()) if ((await cache.match(request))?.redirected) found.push(request.url);
      }
      return found;
    });
    expect(redirected).toEqual([]);
  });

  it("that answer with a page in place of a file leave nothing behind", async () => {
    let isBroken = true;
    const substitute = (file: string) => isBroken && file.endsWith(".wasm");
    const page = await visitPage({ substitute }, undefined, "allow");
    await page.locator(".status [role=alert]").waitFor();
    isBroken = false;
    await page.getByRole("button", { name: "Try again" }).click();
    await ready(page);
  });
});
