// Runs once for all tests: builds and serves the pages, and starts Chromium with a fake camera that shows a fixture.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import type { TestProject } from "vitest/node";
import { build } from "vite";
import { fixture } from "./images.ts";
import { serve } from "./static-server.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** URL of the page. */
    base: string;
    /** WebSocket URL of Chromium for Playwright, which compiles WebAssembly quickly rather than well. */
    browser: string;
    /** As `browser`, for tests that compute for long. */
    optimizingBrowser: string;
    /** The folder of the built pages. */
    dist: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), "landfall-page-"));
  const dist = join(folder, "dist");
  // As in `npm run build`. Vitest sets "test", which would build a page without the service worker.
  process.env["NODE_ENV"] = "production";
  // A larger bundle would replace the small one in the middle of a test; `larger-model.test.ts` adds one.
  process.env["LANDFALL_PAGE_BUNDLES"] = "pocket";
  await build({ logLevel: "error", build: { outDir: dist, reportCompressedSize: false } });
  process.env["NODE_ENV"] = "test";
  const video = join(folder, "camera.mjpeg");
  const { server, base } = await serve(dist);
  const flags = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    `--use-file-for-fake-video-capture=${video}`,
    // Measure memory at once instead of some minutes later.
    "--enable-blink-features=ForceEagerMeasureMemory",
    // Only this machine can be reached; plain.test is an insecure origin.
    "--host-resolver-rules=MAP plain.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ];
  const launch = (args: string[]) => {
    const executablePath = process.env["LANDFALL_CHROMIUM"] ?? "/usr/bin/chromium";
    return chromium.launchServer({ executablePath, args });
  };
  // Most tests load models and compute little: optimizing the runtime's code would take a third of their processor time.
  const browser = await launch([...flags, "--js-flags=--liftoff-only"]);
  const optimizingBrowser = await launch(flags);
  await writeVideo(browser.wsEndpoint(), video);
  project.provide("base", base);
  project.provide("browser", browser.wsEndpoint());
  project.provide("optimizingBrowser", optimizingBrowser.wsEndpoint());
  project.provide("dist", dist);
  return async () => {
    await browser.close();
    await optimizingBrowser.close();
    server.close();
    await rm(folder, { recursive: true, force: true });
  };
}

/** Writes the video of the fake camera: MJPEG is a sequence of JPEG images, here of a size that cameras have. */
async function writeVideo(endpoint: string, video: string): Promise<void> {
  const browser = await chromium.connect(endpoint);
  const page = await browser.newPage();
  const photo = (await readFile(fixture("rome-colosseum"))).toString("base64");
  const frame = await page.evaluate(async (photo) => {
    const image = new Image();
    image.src = `data:image/jpeg;base64,${photo}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [640, 480];
    canvas.getContext("2d")?.drawImage(image, 0, 0, 640, 480);
    return canvas.toDataURL("image/jpeg", 0.9).split(",")[1] ?? "";
  }, photo);
  await writeFile(video, Buffer.concat(Array.from({ length: 10 }, () => Buffer.from(frame, "base64"))));
  await browser.close();
}
