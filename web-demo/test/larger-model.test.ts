// The larger model of the built page: fetched in the background, resumed, paused and refused.

import { rmSync } from "node:fs";
import type { BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeEach, describe, expect, inject, it } from "vitest";
import { layoutProblems, violations } from "./layout-tests.ts";
import { withPhoneBundle } from "./phone-bundle.ts";
import { serve, type Host } from "./static-server.ts";
import { createProfile, withBrowser } from "./throttling.ts";
import { open, predictedPlace, ready, useBrowser, type Visit } from "./visit.ts";

useBrowser();

const { folder, parts } = withPhoneBundle(inject("dist"));
afterAll(() => rmSync(folder, { recursive: true }));

const PART = /phone\/encoder\.onnx\.part\d$/;
let host: Host;
let visit: Visit;
/** The parts that have been requested, by number. */
let requested: number[] = [];
/** Parts that are answered only when the promise is kept. */
let hold: Promise<void> | undefined;
let release = () => {};
let isBroken = (_part: number) => false;
let isAltered = (_part: number) => false;
/** Runs in the engine's worker before its own code. */
let workerCode = "";

const partNumber = (file: string) => (PART.test(file) ? Number(file.at(-1)) : NaN);

beforeEach(async () => {
  requested = [];
  hold = undefined;
  isBroken = isAltered = () => false;
  workerCode = "";
  host = await serve(folder, {
    before(file) {
      if (!PART.test(file)) return;
      requested.push(partNumber(file));
      return hold;
    },
    truncate: (file) => isBroken(partNumber(file)),
    change(file, bytes) {
      if (/assets\/worker-/.test(file)) return `${workerCode}\n${bytes}`;
      return isAltered(partNumber(file)) ? bytes.fill(7, 1000, 2000) : bytes;
    },
  });
});

afterEach(async () => {
  release();
  await visit?.context.close();
  host.server.closeAllConnections();
  host.server.close();
});

/** Opens the page, without a service worker, to be faster. */
async function visitPage(script = "", options: BrowserContextOptions = {}): Promise<Page> {
  visit = await open({ at: host.base, serviceWorkers: "block", ...options }, (page) => page.addInitScript(script));
  return visit.page;
}

function holdParts(): void {
  hold = new Promise((done) => (release = done));
}

const loaded = (page: Page) => page.locator(".status", { hasText: "Phone model ·" }).waitFor({ state: "attached" });
const larger = (page: Page, text: string | RegExp) => page.locator(".larger", { hasText: text }).waitFor();
const speaker = (page: Page, name: string) => page.locator(".prediction-time", { hasText: `${name} model` }).waitFor();
const all = parts.map((_, i) => i);

it("is fetched in the background and answers the picture again", async () => {
  expect(parts.length).toBeGreaterThan(2);
  holdParts();
  const page = await visitPage();
  await page.getByRole("button", { name: "Example 1" }).click();
  expect(await predictedPlace(page)).toBe("Somewhere in Europe");
  await speaker(page, "Pocket");
  await larger(page, /^Downloading the more accurate model: [\d.]+ MB of [\d.]+ MB/);
  expect(await page.getByRole("progressbar", { name: "Download of the more accurate model" }).count()).toBe(1);
  await page.getByRole("button", { name: "How close?" }).click();
  await page.locator(".error-distance").waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.textContent);
  const before = await focused();

  release();
  await speaker(page, "Phone");
  await loaded(page);
  expect(await focused()).toBe(before);
  expect(await page.locator(".error-distance").textContent()).toMatch(/ off$/);
  expect(await page.locator(".larger").isVisible()).toBe(false);
  expect(requested).toEqual(all);

  // Kept: the next visit takes it from the storage.
  await page.reload();
  await page.getByRole("button", { name: "Example 1" }).click();
  await speaker(page, "Phone");
  expect(requested).toEqual(all);
  expect(visit.errors.filter((text) => !/404/.test(text))).toEqual([]);
});

it("is resumed after a lost connection and after a reload", async () => {
  isBroken = (part) => part === 1;
  const page = await visitPage();
  await larger(page, /continues when there is a connection/);
  await page.reload();
  await larger(page, /continues when there is a connection/);
  expect(requested.filter((part) => part === 0)).toEqual([0]);
  isBroken = () => false;
  requested = [];
  await page.evaluate(() => dispatchEvent(new Event("online")));
  await loaded(page);
  expect(requested).toEqual(all.slice(1));
});

it("is paused until the user continues, also on later visits", async () => {
  holdParts();
  const page = await visitPage();
  const pause = page.getByRole("button", { name: "Pause" });
  await pause.waitFor();
  const problems = [...(await layoutProblems(page)), ...(await violations(page))];
  await pause.click();
  await larger(page, /is paused/);
  expect([...problems, ...(await layoutProblems(page)), ...(await violations(page))]).toEqual([]);
  await page.reload();
  await ready(page);
  await larger(page, /is paused/);
  release();
  hold = undefined;
  requested = [];
  await page.getByRole("button", { name: /^Use the more accurate model \([\d.]+ MB\)$/ }).click();
  await loaded(page);
  expect(requested).toEqual(all);
});

const connection = (of: string) => `
  const connection = Object.assign(new EventTarget(), ${of});
  Object.defineProperty(navigator, "connection", { value: connection });`;

it.each(["{ saveData: true }", '{ type: "cellular" }'])("is not fetched over a metered connection: %s", async (of) => {
  const page = await visitPage(connection(of));
  await larger(page, /this connection may charge for it/);
  await page.getByRole("button", { name: "Example 1" }).click();
  await speaker(page, "Pocket");
  expect(requested).toEqual([]);
  await page.evaluate(() => {
    const { connection } = navigator as unknown as { connection: EventTarget };
    Object.assign(connection, { saveData: false, type: "wifi" }).dispatchEvent(new Event("change"));
  });
  await speaker(page, "Phone");
});

it("is fetched after the first answer where the browser does not describe the connection", async () => {
  const page = await visitPage('Object.defineProperty(navigator, "connection", { value: undefined });');
  await ready(page);
  await page.waitForTimeout(1000);
  expect(requested).toEqual([]);
  holdParts();
  await page.getByRole("button", { name: "Example 1" }).click();
  await larger(page, /^Downloading the more accurate model: [\d.]+ MB of [\d.]+ MB/);
  expect(await page.getByRole("button", { name: "Pause" }).isVisible()).toBe(true);
  release();
  await speaker(page, "Phone");
});

describe("without room to keep it", () => {
  const note = (page: Page) => page.locator(".notice", { hasText: "The more accurate model is not used" });
  const ROOM = "StorageManager.prototype.estimate = async () => ({ usage: 2_000_000, quota: 5_000_000 });";

  it("is not downloaded, which is said once, unless the user wants it for this visit", async () => {
    workerCode = ROOM;
    const page = await visitPage();
    await note(page).waitFor();
    expect(await note(page).textContent()).toMatch(
      /This model needs [\d.]+ MB of storage, and the browser has 3\.0 MB left for this page\. The small one/,
    );
    await page.getByRole("button", { name: "Example 1" }).click();
    await speaker(page, "Pocket");
    await page.reload();
    await larger(page, /no room to keep the more accurate model/);
    expect(await page.locator(".notice").count()).toBe(0);
    expect(requested).toEqual([]);
    await page.getByRole("button", { name: /^Use the more accurate model/ }).click();
    await loaded(page);
    expect(requested).toEqual(all);
  });

  it("is not downloaded if the browser, whose estimate is too high, refuses to reserve the room", async () => {
    const { folder, remove } = await createProfile();
    await withBrowser(folder, async (browser) => {
      const context = browser.contexts()[0]!;
      const page = await context.newPage();
      page.setDefaultTimeout(60_000);
      const session = await context.newCDPSession(page);
      await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(host.base).origin, quotaSize: 2_000_000 });
      await page.goto(host.base);
      await note(page).waitFor();
      expect(await note(page).textContent()).toMatch(/needs [\d.]+ MB of storage, and the browser has no room for it\./);
      await page.getByRole("button", { name: "Example 1" }).click();
      await speaker(page, "Pocket");
    });
    expect(requested).toEqual([]);
    await remove();
  });

  it("is given up midway where the browser does not tell", async () => {
    workerCode = `StorageManager.prototype.estimate = async () => ({});
      StorageManager.prototype.getDirectory = async () => { throw new DOMException("", "SecurityError"); };`;
    // The first visit must not run out of room, since that is said once.
    holdParts();
    const page = await visitPage();
    await ready(page);
    await page.evaluate(() => caches.delete("landfall-models"));
    const session = await visit.context.newCDPSession(page);
    const origin = new URL(host.base).origin;
    await session.send("Storage.clearDataForOrigin", { origin, storageTypes: "all" });
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 6_000_000 });
    hold = undefined;
    await page.reload();
    await page.locator(".notice", { hasText: "has no room to keep it" }).waitFor();
    await page.getByRole("button", { name: "Example 1" }).click();
    await speaker(page, "Pocket");
    requested = [];
    await page.reload();
    await larger(page, /no room to keep the more accurate model/);
    expect(await page.locator(".notice").count()).toBe(0);
    expect(requested).toEqual([]);
  });
});

it("is checked part by part", async () => {
  let altered = 1;
  isAltered = (part) => part === 1 && altered-- > 0;
  let page = await visitPage();
  await loaded(page);
  expect(requested).toEqual([0, 1, 1, ...all.slice(2)]);
  await visit.context.close();

  altered = Infinity;
  page = await visitPage();
  await page.locator(".notice", { hasText: "encoder.onnx.part1 was corrupt after two downloads" }).waitFor();
  await page.getByRole("button", { name: "Example 1" }).click();
  await speaker(page, "Pocket");
});

it("gives way to the small model where the user prefers that", async () => {
  const page = await visitPage();
  await loaded(page);
  const choose = async (name: string) => {
    await page.getByRole("button", { name: "Settings" }).click();
    await page.getByRole("radio", { name }).check();
    await page.locator(".status", { hasText: `${name} model ·` }).waitFor({ state: "attached" });
    await page.locator("dialog").getByRole("button", { name: "Close" }).click();
  };
  await choose("Pocket");
  await page.reload();
  await ready(page);
  await page.waitForTimeout(1000);
  expect(await page.locator(".status").textContent()).toContain("Pocket model ·");
  await choose("Phone");
});

it("answers from the whole square first", async () => {
  // By this clock the encoder takes long.
  workerCode = "{ const { now } = Performance.prototype; performance.now = () => 50 * now.call(performance); }";
  holdParts();
  const page = await visitPage();
  await ready(page);
  await page.evaluate(() => {
    const texts: string[] = [];
    Object.assign(globalThis, { texts });
    const record = () => {
      const text = document.querySelector(".prediction-time")?.textContent;
      if (text && text !== texts.at(-1)) texts.push(text);
    };
    new MutationObserver(record).observe(document.body, { subtree: true, childList: true });
  });
  const texts = () => page.evaluate(() => (globalThis as unknown as { texts: string[] }).texts);
  await page.getByRole("button", { name: "Example 1" }).click();
  await page.locator(".prediction-time", { hasText: /^Pocket model, [\d.]+ m?s$/ }).waitFor();
  release();
  await page.locator(".prediction-time", { hasText: /^Phone model, [\d.]+ m?s$/ }).waitFor();
  const [first, second, third, fourth] = await texts();
  expect([first, third]).toEqual(["Pocket model, refining…", "Phone model, refining…"]);
  expect([second, fourth].join()).not.toContain("refining");
  expect(await page.locator(".panel").getAttribute("aria-busy")).toBe("false");
});

it("leaves the small model in place if the worker runs out of memory", async () => {
  workerCode = `addEventListener("message", ({ data }) => {
    if (data.call?.bundle === "phone") setTimeout(() => { throw new Error("out of memory"); }, 300);
  });`;
  const page = await visitPage();
  await page.locator(".notice", { hasText: "The more accurate model is not used: The engine stopped" }).waitFor();
  await larger(page, /could not be used on this device/);
  await page.getByRole("button", { name: "Example 1" }).click();
  await speaker(page, "Pocket");
});

it("is not opened by itself again after the browser closed the page meanwhile", async () => {
  const page = await visitPage('localStorage.setItem("landfall-larger", "starting")');
  await larger(page, /could not be used on this device/);
  expect(requested).toEqual([]);
});
