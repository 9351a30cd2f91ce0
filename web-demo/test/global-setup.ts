// Once for all tests: the built pages on a plain host, and one Chromium with a camera that sees a fixture.

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
    /** The page's address. */
    base: string;
    /** Where Chromium listens to Playwright. */
    browser: string;
    /** The folder of the built pages. */
    dist: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), "landfall-page-"));
  const dist = join(folder, "dist");
  // As `npm run build` has it; vitest says "test", which would build a page without its service worker.
  process.env["NODE_ENV"] = "production";
  await build({ logLevel: "error", build: { outDir: dist, reportCompressedSize: false } });
  process.env["NODE_ENV"] = "test";
  const film = join(folder, "camera.mjpeg");
  const { server, base } = await serve(dist);
  const browser = await chromium.launchServer({
    executablePath: process.env["LANDFALL_CHROMIUM"] ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--use-fake-device-for-media-stream",
      `--use-file-for-fake-video-capture=${film}`,
      // Memory is measured when a test asks, and not at some time in the next minutes.
      "--enable-blink-features=ForceEagerMeasureMemory",
      // Nothing but this machine is to be found; one name stands for an address that is not secure.
      "--host-resolver-rules=MAP plain.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ],
  });
  await record(browser.wsEndpoint(), film);
  project.provide("base", base);
  project.provide("browser", browser.wsEndpoint());
  project.provide("dist", dist);
  return async () => {
    await browser.close();
    server.close();
    await rm(folder, { recursive: true, force: true });
  };
}

/** What the camera sees: a film is pictures one after another, of a kind that cameras make (which few fixtures are). */
async function record(endpoint: string, film: string): Promise<void> {
  const browser = await chromium.connect(endpoint);
  const page = await browser.newPage();
  const picture = (await readFile(fixture("rome-colosseum"))).toString("base64");
  const frame = await page.evaluate(async (picture) => {
    const image = new Image();
    image.src = `data:image/jpeg;base64,${picture}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [640, 480];
    canvas.getContext("2d")?.drawImage(image, 0, 0, 640, 480);
    return canvas.toDataURL("image/jpeg", 0.9).split(",")[1] ?? "";
  }, picture);
  await writeFile(film, Buffer.concat(Array.from({ length: 10 }, () => Buffer.from(frame, "base64"))));
  await browser.close();
}
