// Opens the page in Chromium and records its errors and requests.

import {
  chromium,
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  type Locator,
  type Page,
} from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject } from "vitest";

export const BASE = inject("base");
/** Generous, since other tests keep the CPU busy. */
const TIMEOUT_MS = 45_000;
/** The device location in the tests. */
export const ROME = { lat: 41.8902, lng: 12.4922 };

let browser: Browser;

/** Must be called once in each test file that opens pages. */
export function useBrowser(): void {
  beforeAll(async () => {
    browser = await chromium.connect(inject("browser"));
  });
  afterAll(() => browser.close());
}

export interface Visit {
  page: Page;
  context: BrowserContext;
  /** Console errors and uncaught exceptions, including violations of the Content-Security-Policy. */
  errors: string[];
  /** URLs of requests to other origins. */
  foreignRequests: string[];
  /** URLs of all requests. */
  requests: string[];
}

/** Opens the page in a new browser context. `before` is called before it is loaded. */
export async function open(
  { at = BASE, ...options }: BrowserContextOptions & { at?: string } = {},
  before: (page: Page, context: BrowserContext) => Promise<unknown> = async () => undefined,
): Promise<Visit> {
  const context = await browser.newContext({
    viewport: { width: 390, height: 844 },
    reducedMotion: "reduce",
    ...options,
  });
  context.setDefaultTimeout(TIMEOUT_MS);
  const page = await context.newPage();
  const visit: Visit = { page, context, errors: [], foreignRequests: [], requests: [] };
  page.on("console", (message) => message.type() === "error" && visit.errors.push(message.text()));
  page.on("pageerror", (error) => visit.errors.push(error.message));
  const origin = new URL(at).origin;
  page.on("request", (request) => {
    const url = request.url();
    visit.requests.push(url);
    if (/^https?:/.test(url) && !url.startsWith(`${origin}/`)) visit.foreignRequests.push(url);
  });
  await before(page, context);
  await page.goto(at);
  return visit;
}

/** Waits until the model is loaded. */
export async function ready(page: Page): Promise<void> {
  await page.locator(".status", { hasText: "model ·" }).waitFor();
}

/**
 * One page shared by all tests of a file; each test begins on the start screen. Fails a test after which there were
 * errors or requests to other origins. The page may use the camera and the device location.
 */
export function useOnePage(): Visit {
  useBrowser();
  const shared = {} as Visit;
  beforeAll(async () => {
    const { lat, lng } = ROME;
    const options = { permissions: ["camera", "geolocation"], geolocation: { latitude: lat, longitude: lng } };
    Object.assign(shared, await open(options));
    await ready(shared.page);
  });
  beforeEach(async () => {
    await shared.page.evaluate(() => document.querySelector("dialog")?.close());
    await shared.page.evaluate(() => void (location.hash = "#locate"));
    await shared.page.locator(".brand").click();
    await shared.page.getByRole("button", { name: "Example 1" }).waitFor();
    shared.requests.length = 0;
  });
  afterEach(() => {
    const { errors, foreignRequests } = shared;
    const problems = [...errors.splice(0), ...foreignRequests.splice(0)];
    expect(problems, "errors and requests to other origins").toEqual([]);
  });
  afterAll(() => shared.context?.close());
  return shared;
}

type Files = Parameters<Locator["setInputFiles"]>[0];

/** Chooses photos with the file input labelled `label`. */
export async function choosePhotos(page: Page, label: string, files: Files): Promise<void> {
  await page.locator("label.button", { hasText: label }).locator("input").setInputFiles(files);
}

/** Waits for a prediction from all squares and returns the name of the place. */
export async function predictedPlace(page: Page): Promise<string> {
  await page.locator('.panel[aria-busy="false"] .prediction .place-name').waitFor();
  return (await page.locator(".prediction .place-name").textContent()) ?? "";
}
