// Play mode of the built page in a real Chromium.

import { readFileSync } from "node:fs";
import { buffer } from "node:stream/consumers";
import type { Page } from "playwright-core";
import { expect, it } from "vitest";
import { choosePhotos, type Visit } from "./visit.ts";
import { fixture, withGps, upload } from "./images.ts";

async function openGameMode(page: Page): Promise<void> {
  await page.getByRole("link", { name: "Play" }).click();
  await page.getByRole("button", { name: "Five places" }).waitFor();
}

/** Places the pin, guesses and returns points and distance in km of the player and the model. */
async function round(page: Page, placePin: () => Promise<void>): Promise<{ points: number; km: number }[]> {
  await page.locator(".map[data-placing]").waitFor();
  const guess = page.getByRole("button", { name: "Guess" });
  expect(await guess.isDisabled()).toBe(true);
  await placePin();
  await guess.click();
  await page.locator(".round-scores").waitFor();
  const number = (text: string) => Number(text.replace(/[^\d.]/g, ""));
  const rows = await page.locator(".round-scores-points").all();
  return Promise.all(
    rows.map(async (row) => {
      const distance = await row.locator("span").innerText();
      const km = number(distance) / (distance.endsWith("km") ? 1 : 1000);
      return { points: number(await row.locator("strong").innerText()), km };
    }),
  );
}

export function gameTests(visit: Visit): void {
  it("plays five rounds with the score formula of the game and creates a share image", async () => {
    const { page } = visit;
    await openGameMode(page);
    await page.getByRole("button", { name: "Five places" }).click();
    const names = new Set<string>();
    const total = [0, 0];
    for (let n = 1; n <= 5; n++) {
      const rows = await round(page, () =>
        page.locator(".map-viewport").click({ position: { x: 60 + 50 * n, y: 110 } }),
      );
      expect(rows.length).toBe(2);
      rows.forEach(({ points, km }, i) => {
        // 5,000 · exp(−10 · distance / scale), with the rounded distance.
        expect(Math.abs(points - 5000 * Math.exp((-10_000 * km) / 14_916_862))).toBeLessThan(3);
        total[i]! += points;
      });
      expect(await page.locator(".headline").textContent()).toContain(`Round ${n} of 5`);
      expect(await page.locator(".credit").textContent()).toMatch(/^Photo: .+, .+/);
      names.add((await page.locator(".place-name").textContent()) ?? "");
      await page.getByRole("button", { name: n < 5 ? "Next round" : "See results" }).click();
    }
    expect(names.size).toBe(5);
    const [player, model] = total.map((points) => points.toLocaleString("en-US"));
    expect(await page.locator(".final-score").textContent()).toBe(`${player} to ${model} points`);
    expect(await page.locator("tbody tr").count()).toBe(5);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "Share" }).click(),
    ]);
    const png = await buffer(await download.createReadStream());
    expect([png.toString("latin1", 1, 4), png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual(["PNG", 1080, 1350]);
    await page.getByRole("button", { name: "Play again" }).click();
    await page.getByRole("button", { name: "Five places" }).waitFor();
  });

  it("plays the user's photos with the keyboard, without photos that have no GPS coordinates", async () => {
    const { page } = visit;
    await openGameMode(page);
    await choosePhotos(page, "Your photos", [
      upload("rome.jpg", withGps("rome-colosseum", { lat: 41.8902, lng: 12.4922 })),
      { name: "nowhere.jpg", mimeType: "image/jpeg", buffer: readFileSync(fixture("nagoya-castle")) },
    ]);
    expect(await page.locator(".notice").textContent()).toContain("One photo has no GPS coordinates");
    const [player, model] = await round(page, async () => {
      await page.locator(".map-viewport").focus();
      for (const key of ["ArrowUp", "ArrowDown", "+", "-", "Enter"]) await page.keyboard.press(key);
      await page.getByRole("button", { name: "Guess" }).focus();
    });
    expect(model!.points).toBeGreaterThan(4_900);
    expect(player!.km).toBeGreaterThan(100);
    // The focus moves to the button for the next step.
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("See results");
    await page.keyboard.press("Enter");
    expect(await page.locator(".place-name").textContent()).toBe("Landfall won");
    expect(await page.locator("tbody th").allTextContents()).toEqual(["rome.jpg"]);
  });

  it("reports that no photo has GPS coordinates", async () => {
    const { page } = visit;
    await openGameMode(page);
    await choosePhotos(page, "Your photos", fixture("nagoya-castle"));
    expect(await page.getByRole("alert").textContent()).toContain("have no GPS coordinates");
  });
}
