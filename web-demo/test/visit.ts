// A visit to the page in Chromium: what went wrong in it, and what it asked the network for.

import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Locator, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject } from "vitest";

export const BASE = inject("base");
/** How long anything may take when the cores have other things to do, in milliseconds. */
const PATIENCE = 45_000;
/** Where the tests' phone stands, when it is asked. */
export const ROME = { lat: 41.8902, lng: 12.4922 };

let browser: Browser;

/** To be called once in a file of tests that open pages. */
export function useBrowser(): void {
  beforeAll(async () => {
    browser = await chromium.connect(inject("browser"));
  });
  afterAll(() => browser.close());
}

export interface Visit {
  page: Page;
  context: BrowserContext;
  /** Errors on the console and in the page; breaches of its policy are among them. */
  faults: string[];
  /** Addresses that the page asked for outside its origin. */
  strangers: string[];
  /** All that the page asked for. */
  asked: string[];
}

/** Opens the page in a profile of its own. `before` is called before it is loaded. */
export async function open(
  { at = BASE, ...options }: BrowserContextOptions & { at?: string } = {},
  before: (page: Page, context: BrowserContext) => Promise<unknown> = async () => undefined,
): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 }, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const visit: Visit = { page, context, faults: [], strangers: [], asked: [] };
  page.on("console", (message) => message.type() === "error" && visit.faults.push(message.text()));
  page.on("pageerror", (error) => visit.faults.push(error.message));
  const origin = new URL(at).origin;
  page.on("request", (request) => {
    const address = request.url();
    visit.asked.push(address);
    if (/^https?:/.test(address) && !address.startsWith(`${origin}/`)) visit.strangers.push(address);
  });
  await before(page, context);
  await page.goto(at);
  return visit;
}

/** The model is loaded. */
export async function ready(page: Page): Promise<void> {
  await page.locator(".status", { hasText: "model ·" }).waitFor();
}

/**
 * One page for a file's tests, each of which finds it at its start. After each one it must have made no error and asked no
 * stranger. It may use the camera and the phone's place.
 */
export function useOnePage(): Visit {
  useBrowser();
  const one = {} as Visit;
  beforeAll(async () => {
    const { lat, lng } = ROME;
    const rights = { permissions: ["camera", "geolocation"], geolocation: { latitude: lat, longitude: lng } };
    Object.assign(one, await open(rights));
    await ready(one.page);
  });
  beforeEach(async () => {
    await one.page.evaluate(() => document.querySelector("dialog")?.close());
    await one.page.evaluate(() => void (location.hash = "#look"));
    await one.page.locator(".brand").click();
    await one.page.getByRole("button", { name: "Example 1" }).waitFor();
    one.asked.length = 0;
  });
  afterEach(() => {
    const { faults, strangers } = one;
    const wrong = [...faults.splice(0), ...strangers.splice(0)];
    expect(wrong, "errors, and requests that left the origin").toEqual([]);
  });
  afterAll(() => one.context?.close());
  return one;
}

type Files = Parameters<Locator["setInputFiles"]>[0];

/** Chooses photos where the page says `label`. */
export async function choose(page: Page, label: string, files: Files): Promise<void> {
  await page.locator("label.button", { hasText: label }).locator("input").setInputFiles(files);
}

/** Waits for an answer and gives the place's name. */
export async function place(page: Page): Promise<string> {
  await page.locator(".answer .place").waitFor();
  return (await page.locator(".answer .place").textContent()) ?? "";
}
