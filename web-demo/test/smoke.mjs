// Smoke test of the page at a URL: node test/smoke.mjs https://127.0.0.1:8736/
//
// The page must load, be cross-origin isolated, predict an example and send no request to another origin. Exit code 0
// and a line of JSON on success, 1 and a message on failure, 2 without a URL. `agent/tests/e2e/serve.rs` runs it
// against `landfall serve`, whose certificate is self-signed.
import { chromium } from "playwright-core";

/** Chromium reports that service workers do not work with an untrusted certificate; the page works without them. */
const NO_WORKER = /SSL certificate error occurred when fetching the script/;

const [pageUrl] = process.argv.slice(2);
if (!pageUrl) {
  console.error("usage: node test/smoke.mjs URL");
  process.exit(2);
}
const { origin, hostname } = new URL(pageUrl);
const browser = await chromium.launch({
  executablePath: process.env.LANDFALL_CHROMIUM ?? "/usr/bin/chromium",
  // Other hosts cannot be resolved.
  args: ["--no-sandbox", "--disable-gpu", `--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE ${hostname}`],
});
try {
  console.log(JSON.stringify(await visit()));
} catch (error) {
  console.error(String(error));
  process.exitCode = 1;
} finally {
  await browser.close();
}

async function visit() {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 390, height: 844 } });
  context.setDefaultTimeout(45_000);
  const [requests, problems] = [new Set(), []];
  // Requests of workers are reported only on the context.
  context.on("request", (request) => {
    const url = request.url();
    if (!/^https?:/.test(url)) return;
    requests.add(url);
    if (!url.startsWith(`${origin}/`)) problems.push(`request to another origin: ${url}`);
  });
  context.on(
    "response",
    (response) => response.status() >= 400 && problems.push(`${response.url()}: status ${response.status()}`),
  );
  // A larger model might replace the small one before its answer has been read.
  await context.addInitScript(() => localStorage.setItem("landfall-bundle", "pocket-only"));
  const page = await context.newPage();
  page.on("pageerror", (error) => problems.push(error.message));
  page.on(
    "console",
    (message) => message.type() === "error" && !NO_WORKER.test(message.text()) && problems.push(message.text()),
  );
  await page.goto(pageUrl);
  await page.locator(".status", { hasText: "model ·" }).waitFor();
  const status = await page.locator(".status").textContent();
  const isolated = await page.evaluate(() => isSecureContext && crossOriginIsolated);
  if (!isolated) problems.push("the page is not cross-origin isolated, so it cannot use threads");
  await page.getByRole("button", { name: "Example 1" }).click();
  await page.locator(".prediction .place-name").waitFor();
  const place = await page.locator(".prediction .place-name").textContent();
  if (problems.length) throw new Error(problems.join("; "));
  return { place, status, requests: requests.size };
}
