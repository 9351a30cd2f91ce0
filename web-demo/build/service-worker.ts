// Tells the service worker what the build made, and the page what it may load.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

/** Files that the page's service worker has nothing to do with: the arena's, the bundles (kept by the engine), itself. */
const NOT_KEPT = /^(arena\.html|sw\.js|bundles\/|assets\/arena-)/;
/** Files that are needed only once a person does something; the runtime is kept when it is first used. */
const LATER = /\.(jpg|wasm)$|countries-50m/;

const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  // The map's tiles, for those who switch them on, are the one thing from elsewhere.
  "img-src 'self' blob: https://tile.openstreetmap.org",
  "connect-src 'self'",
  "worker-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** Writes the list of files into `sw.js`, with a version that changes when any of them does. */
export function offline(): Plugin {
  return {
    name: "landfall-offline",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler: (_, { path }) =>
        path === "/index.html"
          ? [{ tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: POLICY }, injectTo: "head-prepend" }]
          : [],
    },
    writeBundle({ dir }) {
      const folder = dir ?? "dist";
      const files = readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1).replaceAll("\\", "/"))
        .filter((file) => !NOT_KEPT.test(file))
        .sort();
      const hash = createHash("sha256");
      for (const file of files) hash.update(file).update(readFileSync(join(folder, file)));
      const worker = join(folder, "sw.js");
      const code = readFileSync(worker, "utf8");
      const list = {
        version: hash.update(code).digest("hex").slice(0, 12),
        first: files.filter((file) => !LATER.test(file)),
        later: files.filter((file) => LATER.test(file)),
      };
      writeFileSync(worker, `const FILES = ${JSON.stringify(list)};\n${code}`);
    },
  };
}
