// Vite plugin: writes the list of built files into the service worker and the Content-Security-Policy into the page.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

/** Files that the service worker does not cache: the arena, the review, the bundles (cached by the engine) and itself. */
const NOT_CACHED = /^((arena|review)\.html|sw\.js|bundles\/|assets\/(arena|review|leaflet)-)/;
/** Files that are not needed at start-up. */
const ON_DEMAND = /\.(jpg|wasm)$|countries-50m/;

const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  // Map tiles, if enabled in the settings, are the only requests to another origin.
  "img-src 'self' blob: https://tile.openstreetmap.org",
  "connect-src 'self'",
  "worker-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** Writes the list of files into `sw.js`, with a version that changes when any of them does. */
export function serviceWorker(): Plugin {
  return {
    name: "landfall-service-worker",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler: (_, { path }) =>
        path === "/index.html"
          ? [
              {
                tag: "meta",
                attrs: { "http-equiv": "Content-Security-Policy", content: POLICY },
                injectTo: "head-prepend",
              },
            ]
          : [],
    },
    writeBundle({ dir }) {
      const folder = dir ?? "dist";
      const files = readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) =>
          join(entry.parentPath, entry.name)
            .slice(folder.length + 1)
            .replaceAll("\\", "/"),
        )
        .filter((file) => !NOT_CACHED.test(file))
        .sort();
      const hash = createHash("sha256");
      for (const file of files) hash.update(file).update(readFileSync(join(folder, file)));
      const workerPath = join(folder, "sw.js");
      const source = readFileSync(workerPath, "utf8");
      const manifest = {
        version: hash.update(source).digest("hex").slice(0, 12),
        precache: files.filter((file) => !ON_DEMAND.test(file)),
        onDemand: files.filter((file) => ON_DEMAND.test(file)),
      };
      writeFileSync(workerPath, `const CACHE_MANIFEST = ${JSON.stringify(manifest)};\n${source}`);
    },
  };
}
