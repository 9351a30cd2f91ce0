// Lighthouse scores of the built page: npm run build, then npm run lighthouse
//
// Prints the scores and the failed audits; exit code 1 if a score is below 95. Lighthouse is installed by npx, since
// it would add 100 MB to every `npm ci`. The audit itself accesses only this machine. Version 11 is the last one with
// the PWA category.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { preview } from "vite";

const LIGHTHOUSE = "lighthouse@11.7.1";
const CATEGORIES = ["accessibility", "best-practices", "pwa", "seo"];
const MIN_SCORE = 95;

const folder = await mkdtemp(join(tmpdir(), "landfall-lighthouse-"));
const server = await preview({ appType: "mpa", logLevel: "error", preview: { port: 0, host: "127.0.0.1" } });
try {
  const report = await runLighthouse(`http://127.0.0.1:${server.httpServer.url().port}/`);
  for (const { title, score, auditRefs } of Object.values(report.categories)) {
    console.log(`${title}: ${Math.round(100 * score)}`);
    for (const { id, weight } of auditRefs) {
      const { title, score, details } = report.audits[id];
      if (score === null || score >= 1) continue;
      console.log(`  ${title} (weight ${weight}): ${JSON.stringify(details?.items ?? []).slice(0, 600)}`);
    }
    if (score < MIN_SCORE / 100) process.exitCode = 1;
  }
} finally {
  await server.close();
  await rm(folder, { recursive: true, force: true });
}

async function runLighthouse(url) {
  const path = join(folder, "report.json");
  const flags = "--headless=new --no-sandbox --disable-gpu --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'";
  const args = [
    "--yes",
    LIGHTHOUSE,
    url,
    "--quiet",
    "--output=json",
    `--output-path=${path}`,
    `--chrome-flags=${flags}`,
  ];
  const npx = process.platform === "win32" ? "npx.cmd" : "npx";
  await promisify(execFile)(npx, [...args, `--only-categories=${CATEGORIES}`, "--max-wait-for-load=60000"], {
    env: { CHROME_PATH: process.env.LANDFALL_CHROMIUM ?? "/usr/bin/chromium", ...process.env },
    shell: process.platform === "win32",
  });
  return JSON.parse(await readFile(path, "utf8"));
}
