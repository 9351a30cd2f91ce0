// `npm run measure`: measurements that are too slow or too machine-dependent for `npm test`.
import { defineConfig } from "vitest/config";
import config from "../vite.config.ts";

export default defineConfig({
  ...config,
  test: { ...config.test, include: ["test/measure.ts"], testTimeout: 600_000, maxWorkers: 1 },
});
