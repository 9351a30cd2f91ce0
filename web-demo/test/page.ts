// A visit to the page: a browser context of its own, what went wrong in it, and what it asked the network for.

import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from "playwright-core";
import { afterAll, beforeAll, inject } from "vitest";
import { fixture } from "./pictures.ts";

export const BASE = inject("base");
/** How long an answer may take on two busy cores, in milliseconds. */
const PATIENCE = 30_000;

let browser: Browser;

/** To be called once in each file of tests. */
export function useBrowser(): void {
  beforeAll(async () => {
    browser = await chromium.connect(inject("browser"));
  });
  afterAll(() => browser.close());
}

export interface Visit {
  page: Page;
  context: BrowserContext;
  /** Errors on the console and in the page, and breaches of its policy. */
  faults: string[];
  /** Addresses that the page asked for outside its origin. */
  strangers: string[];
  /** All that the page asked for. */
  asked: string[];
}

/** Opens the page, does something there and closes it; the page must have behaved unless `lenient`. */
export async function visit(
  { at = BASE, ready = true, lenient = false, ...options }: BrowserContextOptions & { at?: string; ready?: boolean; lenient?: boolean },
  then: (visit: Visit) => Promise<void>,
  before: (page: Page, context: BrowserContext) => Promise<void> = async () => undefined,
): Promise<void> {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 }, reducedMotion: "reduce", ...options });
  try {
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    const faults: string[] = [];
    const strangers: string[] = [];
    const asked: string[] = [];
    page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
    page.on("pageerror", (error) => faults.push(error.message));
    const origin = new URL(at).origin;
    page.on("request", (request) => {
      const address = request.url();
      asked.push(address);
      if (/^https?:/.test(address) && !address.startsWith(`${origin}/`)) strangers.push(address);
    });
    await before(page, context);
    await page.goto(at);
    if (ready) await page.locator(".status", { hasText: "model ·" }).waitFor();
    await then({ page, context, faults, strangers, asked });
    if (!lenient && (faults.length || strangers.length)) throw new Error([...faults, ...strangers].join("\n"));
  } finally {
    await context.close();
  }
}

/** Chooses photos where the page says `label`. */
export async function choose(page: Page, label: string, files: Parameters<ReturnType<Page["locator"]>["setInputFiles"]>[0]): Promise<void> {
  await page.locator("label.button", { hasText: label }).locator("input").setInputFiles(files);
}

/** Waits for an answer and gives the place's name. */
export async function place(page: Page): Promise<string> {
  await page.locator(".answer .place").waitFor();
  return (await page.locator(".answer .place").textContent()) ?? "";
}

export { fixture };
