// Relative addresses: the pages work at the root of the arena's server and in any folder of a static host.
import { defaultClientConditions } from "vite";
import { defineConfig } from "vitest/config";
import { bundles } from "./build/bundles.ts";
import { offline } from "./build/service-worker.ts";

export default defineConfig({
  base: "./",
  plugins: [bundles(), offline()],
  // The runtime's glue stays a file of its own: its threads load it again, and they must not load our worker instead.
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es" },
  build: {
    target: "es2022",
    rolldownOptions: {
      input: { index: "index.html", arena: "arena.html", sw: "src/service-worker.ts" },
      output: { entryFileNames: ({ name }) => (name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
  // Tests of the page share one build and one browser; they wait for a model now and then.
  // Two files at a time also on two cores: much of their time goes by in waiting.
  test: { globalSetup: "test/global-setup.ts", testTimeout: 120_000, hookTimeout: 120_000, maxWorkers: 2 },
  // `npm run dev` serves the pages, with the fixtures beside this folder; the arena itself answers the calls:
  // landfall arena --port 8735
  server: {
    fs: { allow: [".."] },
    proxy: Object.fromEntries(["/api", "/pictures", "/tiles"].map((path) => [path, "http://127.0.0.1:8735"])),
  },
});
