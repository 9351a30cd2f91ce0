// Relative addresses: the pages work at the root of the arena's server and in any folder of a static host.
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    rolldownOptions: { input: ["index.html", "arena.html"] },
  },
  // `npm run dev` serves the pages; the arena itself answers the calls: landfall arena --port 8735
  server: {
    proxy: Object.fromEntries(["/api", "/pictures", "/tiles"].map((path) => [path, "http://127.0.0.1:8735"])),
  },
});
