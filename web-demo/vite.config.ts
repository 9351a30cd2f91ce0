// Relative URLs: the pages work at the root of the arena's server and in any folder of a static host.
import { defaultClientConditions } from "vite";
import { defineConfig } from "vitest/config";
import { bundles } from "./build/bundles.ts";
import { samples } from "./build/samples.ts";
import { serviceWorker } from "./build/service-worker.ts";

/** The arena answers only to its own name and its own pages. */
const ARENA = { target: "http://127.0.0.1:8735", changeOrigin: true, headers: { origin: "http://127.0.0.1:8735" } };

export default defineConfig({
  base: "./",
  plugins: [samples(), bundles(), serviceWorker()],
  // Keep the runtime's JavaScript in a separate file: its threads load it again and must not load our worker instead.
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es" },
  build: {
    target: "es2022",
    rolldownOptions: {
      input: { index: "index.html", arena: "arena.html", review: "review.html", sw: "src/service-worker.ts" },
      output: { entryFileNames: ({ name }) => (name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
  // The tests share one build and one browser. Timeouts are long because some tests load a model. Two workers even on
  // two cores: the tests spend much of their time waiting.
  test: { globalSetup: "test/global-setup.ts", testTimeout: 120_000, hookTimeout: 120_000, maxWorkers: 2 },
  // `npm run dev` serves the pages and the fixtures next to this folder. API calls go to the arena:
  // landfall arena --port 8735
  server: {
    fs: { allow: [".."] },
    proxy: Object.fromEntries(["/api", "/pictures", "/tiles"].map((path) => [path, ARENA])),
  },
});
