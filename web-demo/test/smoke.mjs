// The page at an address as a phone has it: node test/smoke.mjs https://127.0.0.1:8736/
//
// It must load, be allowed threads, answer an example, and ask nobody but its own origin. Exit code 0 and what was seen as a
// line of JSON; 1 and a sentence when something is not so; 2 without an address. `agent/tests/e2e/serve.rs` runs it against
// `landfall serve`, whose certificate no browser knows.
import { chromium } from "playwright-core";

/** Where a certificate was only put up with, Chromium has no service workers, and says so: the page works without. */
const NO_WORKER = /SSL certificate error occurred when fetching the script/;

const [address] = process.argv.slice(2);
if (!address) {
  console.error("usage: node test/smoke.mjs ADDRESS");
  process.exit(2);
}
const { origin, hostname } = new URL(address);
const browser = await chromium.launch({
  executablePath: process.env.LANDFALL_CHROMIUM ?? "/usr/bin/chromium",
  // Other hosts are not to be found.
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
  const [asked, wrong] = [new Set(), []];
  // Workers' requests come by the context alone.
  context.on("request", (request) => {
    const url = request.url();
    if (!/^https?:/.test(url)) return;
    asked.add(url);
    if (!url.startsWith(`${origin}/`)) wrong.push(`it asked for ${url}`);
  });
  context.on("response", (response) => response.status() >= 400 && wrong.push(`${response.url()} was answered with ${response.status()}`));
  const page = await context.newPage();
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("console", (message) => message.type() === "error" && !NO_WORKER.test(message.text()) && wrong.push(message.text()));
  await page.goto(address);
  await page.locator(".status", { hasText: "model ·" }).waitFor();
  const status = await page.locator(".status").textContent();
  const isolated = await page.evaluate(() => isSecureContext && crossOriginIsolated);
  if (!isolated) wrong.push("the page is not isolated, so that it has no threads");
  await page.getByRole("button", { name: "Example 1" }).click();
  await page.locator(".answer .place").waitFor();
  const place = await page.locator(".answer .place").textContent();
  if (wrong.length) throw new Error(wrong.join("; "));
  return { place, status, requests: asked.size };
}
