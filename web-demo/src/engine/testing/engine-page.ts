// Helpers for tests that drive the engine on the harness page.
import type { Page } from "playwright-core";
import type { createEngine } from "..";
import type { Prediction, BundleName, Engine } from "../types";

declare const globalThis: { createEngine: typeof createEngine; engine: Engine };

export const PHOTO = "/fixtures/rounds/rome-colosseum/view_000.jpg";

/** Loads a bundle, with one thread unless another backend is named. Returns the error as `kind: message`, or `null`. */
export async function load(
  page: Page,
  bundle: BundleName = "pocket",
  backend: "wasm" | "wasm-threads" = "wasm",
): Promise<string | null> {
  return page.evaluate(
    async ([bundle, backend]) => {
      globalThis.engine ??= globalThis.createEngine({ backend });
      return globalThis.engine
        .load(bundle)
        .then(
          () => null,
          (error) => `${error.kind}: ${error.message}`,
        );
    },
    [bundle, backend] as const,
  );
}

/** The prediction for views, each given as a URL or as bytes. Returns an error as `kind: message`. */
export async function locate(page: Page, ...files: (string | Buffer)[]): Promise<Prediction | string> {
  const sources = files.map((file) => (typeof file === "string" ? file : `data:;base64,${file.toString("base64")}`));
  // As text: Playwright takes half a second to pass on the thousands of objects in a prediction.
  const json = await page.evaluate(async (sources) => {
    const read = async (url: string) => {
      if (!url.startsWith("data:")) return (await fetch(url)).blob();
      return new Blob([Uint8Array.from(atob(url.split(",")[1]!), (char) => char.charCodeAt(0))]);
    };
    const views = await Promise.all(sources.map(read));
    return JSON.stringify(await globalThis.engine.locate(views).catch((error) => `${error.kind}: ${error.message}`));
  }, sources);
  return JSON.parse(json);
}

/** Closes a page's engine to free its memory. */
export async function stop(page: Page): Promise<void> {
  await page.evaluate(() => globalThis.engine.close());
}
