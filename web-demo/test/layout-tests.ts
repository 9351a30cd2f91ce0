// Layout and accessibility of the built page: nothing cut off, touch targets large enough, no violations reported by
// axe, in light and dark mode.

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import type { Page } from "playwright-core";
import { expect, it } from "vitest";
import { choosePhotos, predictedPlace, type Visit } from "./visit.ts";
import { fixture } from "./images.ts";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Folder for screenshots: LANDFALL_SHOTS=DIR npm test */
const SCREENSHOT_DIR = process.env["LANDFALL_SHOTS"];

const SCREENS = [
  [390, 844],
  [844, 390],
  [1280, 800],
  [360, 640],
] as const;

/** All states of the page. Each starts from the previous one. */
const STATES: [string, (page: Page) => Promise<unknown>][] = [
  ["start", async () => undefined],
  [
    "settings",
    async (page) => {
      await page.getByRole("button", { name: "Settings" }).click();
      await page.locator(".model-option").first().waitFor();
    },
  ],
  [
    "prediction",
    async (page) => {
      await page.locator("dialog").getByRole("button", { name: "Close" }).click();
      const views = ["view_000.jpg", "view_090.jpg"].map((view) => fixture("portland-landing-pad", view));
      await choosePhotos(page, "Photos", views);
      await predictedPlace(page);
    },
  ],
  [
    "no-place",
    async (page) => {
      await page.getByRole("button", { name: "How close?" }).click();
      await page.getByRole("button", { name: "I am here" }).waitFor();
    },
  ],
  [
    "revealed",
    async (page) => {
      await page.getByRole("button", { name: "I am here" }).click();
      await page.locator(".error-distance").waitFor();
    },
  ],
  [
    "camera",
    async (page) => {
      await page.locator(".brand").click();
      await page.getByRole("button", { name: "Camera" }).click();
      await predictedPlace(page);
      // Freeze the prediction, so that all screenshots agree.
      await page.getByRole("button", { name: "Live predictions" }).click();
    },
  ],
  ["play", async (page) => page.getByRole("link", { name: "Play" }).click()],
  [
    "round",
    async (page) => {
      await page.getByRole("button", { name: "Five places" }).click();
      await page.locator(".map[data-placing]").waitFor();
    },
  ],
  [
    "result",
    async (page) => {
      await page.locator(".map-viewport").click({ position: { x: 100, y: 100 } });
      await page.getByRole("button", { name: "Guess" }).click();
      await page.locator(".round-scores").waitFor();
    },
  ],
  [
    "end",
    async (page) => {
      for (let n = 1; n < 5; n++) {
        await page.getByRole("button", { name: "Next round" }).click();
        await page.locator(".map[data-placing]").waitFor();
        await page.locator(".map-viewport").click({ position: { x: 100, y: 100 } });
        await page.getByRole("button", { name: "Guess" }).click();
        await page.locator(".round-scores").waitFor();
      }
      await page.getByRole("button", { name: "See results" }).click();
    },
  ],
];

/** Elements that are cut off, and touch targets that are too small. */
export function layoutProblems(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const problems: string[] = [];
    if (document.documentElement.scrollWidth > innerWidth)
      problems.push(`the page is ${document.documentElement.scrollWidth} px wide`);
    const area = document.querySelector("dialog[open]") ?? document;
    const targets = "button, a, label.button, label.model-option, label.switch, summary, .map-viewport";
    for (const element of area.querySelectorAll<HTMLElement>(targets)) {
      const { width, height, left, right } = element.getBoundingClientRect();
      const name = element.getAttribute("aria-label") ?? element.textContent ?? element.className;
      // Hidden, or a link within a text.
      if (!width || element.closest(".credit")) continue;
      if (width < 44 || height < 44) problems.push(`${name} is ${width} × ${height} px`);
      if (!element.closest(".thumbs") && (left < 0 || right > innerWidth + 0.5)) problems.push(`${name} is cut off`);
    }
    return problems;
  });
}

/** Violations found by axe. For the second colour scheme the contrast rules suffice. */
export async function violations(page: Page, onlyColours = false): Promise<string[]> {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(AXE);
  type Axe = { run(options: { runOnly?: string[] }): Promise<AxeResults> };
  const options = onlyColours ? { runOnly: ["color-contrast"] } : {};
  const { violations } = await page.evaluate(
    (options) => (globalThis as unknown as { axe: Axe }).axe.run(options),
    options,
  );
  return violations.map(
    ({ id, help, nodes }) => `${id}: ${help} (${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")})`,
  );
}

export function layoutTests(visit: Visit): void {
  it("fits every screen size and is accessible", async () => {
    const { page } = visit;
    const problems: string[] = [];
    for (const [state, go] of STATES) {
      await go(page);
      for (const [width, height] of SCREENS) {
        await page.setViewportSize({ width, height });
        const report = (of: string[], how: string) =>
          problems.push(...of.map((text) => `${state}, ${width}×${height}${how}: ${text}`));
        report(await layoutProblems(page), "");
        if (width === 360) continue;
        for (const colorScheme of ["dark", "light"] as const) {
          await page.emulateMedia({ colorScheme });
          if (width === 390) report(await violations(page, colorScheme === "light"), `, ${colorScheme}`);
          if (!SCREENSHOT_DIR) continue;
          mkdirSync(SCREENSHOT_DIR, { recursive: true });
          await page.waitForTimeout(400);
          await page.screenshot({ path: `${SCREENSHOT_DIR}/${state}-${width}x${height}-${colorScheme}.png` });
        }
      }
      await page.setViewportSize({ width: 390, height: 844 });
    }
    expect(problems).toEqual([]);
  });
}
