// Once for all tests of the page: the built pages on a plain host, and one Chromium with a camera that sees a fixture.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import type { TestProject } from "vitest/node";
import { build } from "vite";
import { fixture } from "./pictures.ts";
import { serve } from "./server.ts";

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
  await build({ logLevel: "error", build: { outDir: dist, reportCompressedSize: false } });
  // A film is pictures one after another.
  const film = join(folder, "camera.mjpeg");
  const picture = await readFile(fixture("rome-colosseum"));
  await writeFile(film, Buffer.concat(Array.from({ length: 10 }, () => picture)));
  const { server, base } = await serve(dist);
  const browser = await chromium.launchServer({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--use-fake-device-for-media-stream",
      `--use-file-for-fake-video-capture=${film}`,
      // Nothing but this machine is to be found; one name stands for an address that is not secure.
      "--host-resolver-rules=MAP plain.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ],
  });
  project.provide("base", base);
  project.provide("browser", browser.wsEndpoint());
  project.provide("dist", dist);
  return async () => {
    await browser.close();
    server.close();
    await rm(folder, { recursive: true, force: true });
  };
}
