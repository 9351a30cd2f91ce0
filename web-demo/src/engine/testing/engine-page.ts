// What tests ask of the engine on the harness's page.
import type { Page } from "playwright-core";
import type { createEngine } from "..";
import type { Answer, BundleName, Engine } from "../types";

declare const globalThis: { createEngine: typeof createEngine; engine: Engine };

export const PHOTO = "/fixtures/rounds/rome-colosseum/view_000.jpg";

/** Loads a bundle with one thread; `kind: message` of the error, or `null`. */
export async function load(page: Page, bundle: BundleName = "pocket"): Promise<string | null> {
  return page.evaluate(async (bundle) => {
    globalThis.engine ??= globalThis.createEngine({ backend: "wasm" });
    return globalThis.engine.load(bundle, () => undefined).then(() => null, (error) => `${error.kind}: ${error.message}`);
  }, bundle);
}

/** The answer for views, each an address or a file's bytes; `kind: message` of the error. */
export async function locate(page: Page, ...files: (string | Buffer)[]): Promise<Answer | string> {
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

/** Closes a page's engine, whose memory is wanted elsewhere. */
export async function stop(page: Page): Promise<void> {
  await page.evaluate(() => globalThis.engine.close());
}
