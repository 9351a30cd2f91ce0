// The built page on a static host: offline use, updates, installation and Content-Security-Policy.

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PNG } from "pngjs";
import { expect, inject, it } from "vitest";
import { choosePhotos, open, predictedPlace, ready, useBrowser } from "./visit.ts";
import { fixture } from "./images.ts";
import { withPhoneBundle } from "./phone-bundle.ts";
import { serve } from "./static-server.ts";

useBrowser();
const DIST = inject("dist");

it("updates on request and works offline after a first visit of under 30 MB", async () => {
  let updated = false;
  const { server, base, sent } = await serve(DIST, {
    change(file, bytes) {
      if (!updated) return bytes;
      const text = bytes.toString();
      if (file === "sw.js") return text.replace(/"version":"\w+"/, '"version":"next"');
      return file === "index.html" ? text.replace("<title>", "<title>Next ") : bytes;
    },
  });
  const { page, context, errors, foreignRequests } = await open({ at: base });
  await ready(page);
  const first = sent();
  expect(first).toBeLessThan(30e6);
  await page.locator(".status", { hasText: "works offline" }).waitFor();
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  console.log(`uncompressed: ${mb(first)} until the model is ready, ${mb(sent())} with all files for offline use`);

  // A new version waits for the user, reuses valid files and deletes the old cache.
  updated = true;
  await page.reload();
  const before = sent();
  await page.getByRole("button", { name: "Update" }).click();
  await page.waitForFunction(() => document.title.startsWith("Next"));
  await page.locator(".status", { hasText: "works offline" }).waitFor();
  expect(sent() - before).toBeLessThan(1e6);
  const stores = await page.evaluate(() => caches.keys());
  expect(stores.filter((name) => name.startsWith("landfall-page-"))).toEqual(["landfall-page-next"]);
  expect(errors).toEqual([]);

  // Without host and network.
  server.closeAllConnections();
  server.close();
  await context.setOffline(true);
  await page.reload();
  await ready(page);
  await page.getByRole("button", { name: "Example 1" }).click();
  expect(await predictedPlace(page)).toBe("Somewhere in Europe");
  await page.getByRole("link", { name: "Play" }).click();
  await page.getByRole("button", { name: "Five places" }).click();
  await page.locator(".map[data-placing]").waitFor();
  const width = () => page.locator(".photo").evaluate((image: HTMLImageElement) => image.naturalWidth);
  await expect.poll(width).toBeGreaterThan(300);
  expect(foreignRequests).toEqual([]);
  await context.close();
});

it("explains the missing camera on an insecure origin, recovers from a failed download, and downloads no larger model that it cannot keep", async () => {
  let isBroken = true;
  const { folder } = withPhoneBundle(DIST);
  const { server, base } = await serve(folder, {
    truncate: (file) => isBroken && file.endsWith("encoder.onnx"),
  });
  const at = base.replace("127.0.0.1", "plain.test");
  const { page, context, foreignRequests } = await open({ at });
  await page.getByRole("button", { name: "Camera" }).click();
  expect(await page.locator(".notice").textContent()).toContain("secure pages only");
  await page.locator(".status [role=alert]").waitFor();
  expect(await page.locator(".status [role=alert]").textContent()).toMatch(/encoder.onnx stopped after .* try again/);
  isBroken = false;
  await page.getByRole("button", { name: "Try again" }).click();
  await ready(page);
  await page.locator(".notice", { hasText: "The browser stores nothing for this page." }).waitFor();
  await choosePhotos(page, "Photos", fixture("rome-colosseum"));
  expect(await predictedPlace(page)).toBe("Somewhere in Europe");
  expect(foreignRequests).toEqual([]);

  expect(await page.locator(".larger button").textContent()).toMatch(/more accurate model \(\d+(\.\d)? MB\)/);
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByRole("radio", { name: "Phone" }).check();
  await page.locator(".status", { hasText: "Phone model ·" }).waitFor({ state: "attached" });
  expect(await page.locator(".settings > p").first().textContent()).toBe("Backend: CPU, 1 thread.");
  await page.locator("dialog").getByRole("button", { name: "Close" }).click();

  const tile = readFileSync(join(DIST, "icon-192.png"));
  await context.route("https://tile.openstreetmap.org/**", (route) =>
    route.fulfill({ contentType: "image/png", body: tile }),
  );
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByRole("checkbox", { name: "Street map" }).check();
  await expect.poll(() => foreignRequests.length).toBeGreaterThan(2);
  expect(
    foreignRequests.filter((address) => !/^https:\/\/tile\.openstreetmap\.org\/\d+\/\d+\/\d+\.png$/.test(address)),
  ).toEqual([]);
  expect(await page.locator(".map-attribution").textContent()).toBe("© OpenStreetMap contributors");
  await context.close();
  server.close();
  rmSync(folder, { recursive: true });
});

it("reports that camera access was denied", async () => {
  const { page, context } = await open({}, async (page, context) => {
    const session = await context.newCDPSession(page);
    const origin = new URL(inject("base")).origin;
    await session.send("Browser.setPermission", { permission: { name: "camera" }, setting: "denied", origin });
  });
  await page.getByRole("button", { name: "Camera" }).click();
  expect(await page.locator(".notice").textContent()).toContain("Camera access was denied");
  // Chromium's own check that the page can be installed.
  const session = await context.newCDPSession(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  const { errors } = await session.send("Page.getAppManifest");
  expect(errors).toEqual([]);
  const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
  // Playwright uses private profiles, which cannot install pages.
  expect(installabilityErrors.filter(({ errorId }) => errorId !== "in-incognito")).toEqual([]);
  await context.close();
});

it("has a strict policy and a complete manifest", () => {
  const html = readFileSync(join(DIST, "index.html"), "utf8");
  const policy = /Content-Security-Policy" content="([^"]+)"/.exec(html)?.[1]?.replaceAll("&#39;", "'") ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("script-src 'self' 'wasm-unsafe-eval';");
  expect(policy).not.toMatch(/unsafe-inline|'unsafe-eval'|\*|data:/);
  expect(policy.match(/https?:[^ ;]+/g)).toEqual(["https://tile.openstreetmap.org"]);
  expect(html).not.toMatch(/<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)/);
  expect(html).not.toMatch(/(src|href)="(?!\.\/)/);
  expect(html).toMatch(/<html lang="en">/);
  expect(html).toMatch(/<title>.{10,}<\/title>/);
  expect(html).toMatch(/name="description" content=".{40,}"/);
  for (const part of ['name="viewport"', 'name="theme-color"', 'rel="apple-touch-icon"', 'rel="manifest"'])
    expect(html).toContain(part);
  const manifest = JSON.parse(readFileSync(join(DIST, "manifest.webmanifest"), "utf8")) as {
    start_url: string;
    scope: string;
    display: string;
    icons: { src: string; sizes: string; type: string; purpose: string }[];
  };
  expect([manifest.start_url, manifest.scope, manifest.display]).toEqual(["./", "./", "standalone"]);
  for (const { src, sizes, type } of manifest.icons.filter(({ type }) => type === "image/png")) {
    const { width, height } = PNG.sync.read(readFileSync(join(DIST, src)));
    expect(`${width}x${height} ${type}`).toBe(`${sizes} image/png`);
  }
  expect(new Set(manifest.icons.map(({ purpose }) => purpose))).toEqual(new Set(["any", "maskable"]));
  // Models are cached by the engine; the arena is not part of the phone page.
  const cached = /const CACHE_MANIFEST = (.*);/.exec(readFileSync(join(DIST, "sw.js"), "utf8"))?.[1] ?? "";
  expect(cached).toContain("index.html");
  expect(cached).not.toMatch(/bundles\/|arena/);
});
