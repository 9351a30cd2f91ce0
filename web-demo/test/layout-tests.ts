// How the built page stands on screens and with assistive technology: nothing cut off, large enough for fingers, no
// violation that axe knows of, in light and dark.

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import type { Page } from "playwright-core";
import { expect, it } from "vitest";
import { choose, place, type Visit } from "./visit.ts";
import { fixture } from "./images.ts";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** A folder for screenshots, for those who want to look: LANDFALL_SHOTS=DIR npm test */
const SHOTS = process.env["LANDFALL_SHOTS"];

const SCREENS = [
  [390, 844],
  [844, 390],
  [1280, 800],
  [360, 640],
] as const;

/** Ways to all that the page can show. Each begins where the last one ended. */
const STATES: [string, (page: Page) => Promise<unknown>][] = [
  ["start", async () => undefined],
  [
    "settings",
    async (page) => {
      await page.getByRole("button", { name: "Settings" }).click();
      await page.locator(".model").first().waitFor();
    },
  ],
  [
    "answer",
    async (page) => {
      await page.locator("dialog").getByRole("button", { name: "Close" }).click();
      const views = ["view_000.jpg", "view_090.jpg"].map((view) => fixture("portland-landing-pad", view));
      await choose(page, "Photos", views);
      await place(page);
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
      await page.locator(".outcome").waitFor();
    },
  ],
  [
    "camera",
    async (page) => {
      await page.locator(".brand").click();
      await page.getByRole("button", { name: "Camera" }).click();
      await place(page);
      // Still, so that two looks see the same.
      await page.getByRole("button", { name: "Guess all the time" }).click();
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
      await page.locator(".map-box").click({ position: { x: 100, y: 100 } });
      await page.getByRole("button", { name: "Guess" }).click();
      await page.locator(".duel").waitFor();
    },
  ],
  [
    "end",
    async (page) => {
      for (let n = 1; n < 5; n++) {
        await page.getByRole("button", { name: "Next round" }).click();
        await page.locator(".map[data-placing]").waitFor();
        await page.locator(".map-box").click({ position: { x: 100, y: 100 } });
        await page.getByRole("button", { name: "Guess" }).click();
        await page.locator(".duel").waitFor();
      }
      await page.getByRole("button", { name: "See the result" }).click();
    },
  ],
];

/** What is wider than the screen, out of reach, or too small for a finger. */
function misfits(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const wrong: string[] = [];
    if (document.documentElement.scrollWidth > innerWidth) wrong.push(`the page is ${document.documentElement.scrollWidth} px wide`);
    const area = document.querySelector("dialog[open]") ?? document;
    const targets = "button, a, label.button, label.model, label.switch, summary, .map-box";
    for (const element of area.querySelectorAll<HTMLElement>(targets)) {
      const { width, height, left, right } = element.getBoundingClientRect();
      const name = element.getAttribute("aria-label") ?? element.textContent ?? element.className;
      // Not shown, or words in a sentence.
      if (!width || element.closest(".credit")) continue;
      if (width < 44 || height < 44) wrong.push(`${name} is ${width} × ${height} px`);
      if (!element.closest(".thumbs") && (left < 0 || right > innerWidth + 0.5)) wrong.push(`${name} is cut off`);
    }
    return wrong;
  });
}

/** What axe knows to be wrong; for a second colour scheme its rules for colours suffice. */
async function violations(page: Page, coloursAlone: boolean): Promise<string[]> {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(AXE);
  type Axe = { run(options: { runOnly?: string[] }): Promise<AxeResults> };
  const options = coloursAlone ? { runOnly: ["color-contrast"] } : {};
  const { violations } = await page.evaluate((options) => (globalThis as unknown as { axe: Axe }).axe.run(options), options);
  return violations.map(({ id, help, nodes }) => `${id}: ${help} (${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")})`);
}

export function fitting(visit: Visit): void {
  it("fits every screen and every person", async () => {
    const { page } = visit;
    const wrong: string[] = [];
    for (const [state, go] of STATES) {
      await go(page);
      for (const [width, height] of SCREENS) {
        await page.setViewportSize({ width, height });
        const told = (of: string[], how: string) => wrong.push(...of.map((text) => `${state}, ${width}×${height}${how}: ${text}`));
        told(await misfits(page), "");
        if (width === 360) continue;
        for (const colorScheme of ["dark", "light"] as const) {
          await page.emulateMedia({ colorScheme });
          if (width === 390) told(await violations(page, colorScheme === "light"), `, ${colorScheme}`);
          if (!SHOTS) continue;
          mkdirSync(SHOTS, { recursive: true });
          await page.waitForTimeout(400);
          await page.screenshot({ path: `${SHOTS}/${state}-${width}x${height}-${colorScheme}.png` });
        }
      }
      await page.setViewportSize({ width: 390, height: 844 });
    }
    expect(wrong).toEqual([]);
  });
}
