// Looking with the built page in a real Chromium: examples, camera, photos, and the truth.

import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { choose, fixture, place, useBrowser, visit } from "./page.ts";
import { plain, taken, upload } from "./pictures.ts";

useBrowser();

const ROME = { lat: 41.8902, lng: 12.4922 };

/** How many pixels of the map have the accent's colour: pin, heat and rims. */
async function warmPixels(page: Page): Promise<number> {
  return page.locator(".map canvas").evaluate((canvas: HTMLCanvasElement) => {
    const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
    let warm = 0;
    for (let i = 0; i < data.length; i += 4) if (data[i]! > data[i + 2]! + 60) warm++;
    return warm;
  });
}

describe("looking", () => {
  it("answers an example, and reveals how close that was", async () => {
    await visit({}, async ({ page }) => {
      expect(await warmPixels(page)).toBe(0);
      await page.getByRole("button", { name: "Example 1" }).click();
      expect(await place(page)).toBe("Near Rome, Italy");
      expect(await page.locator(".countries li").count()).toBe(5);
      expect(await page.locator(".countries .share").first().textContent()).toMatch(/^\d+(\.\d)? %$/);
      expect(await page.locator(".kicker").textContent()).toMatch(/(sure|idea|Unsure|guessing).*\d+ m?s$/);
      expect(await page.locator(".odds").textContent()).toMatch(/within [\d,]+ km of the pin; .* within [\d,]+ km/);
      expect(await page.locator(".map-box").getAttribute("aria-label")).toContain("the pin is near Rome, Italy");
      expect(await warmPixels(page)).toBeGreaterThan(300);
      expect(await page.locator(".credit").textContent()).toBe("Picture: Urse Ovidiu, public domain");
      await page.getByRole("button", { name: "How close?" }).click();
      await expect.poll(() => page.locator(".revealed").textContent()).toMatch(/^[\d.]+ km off4,9\d\d of 5,000 points. Colosseum, Rome.$/);
    });
  });

  it("fuses views of one place", async () => {
    await visit({}, async ({ page }) => {
      await choose(page, "Photos", fixture("berlin-potsdamer-platz"));
      const one = await place(page);
      await choose(page, "Photos", fixture("berlin-potsdamer-platz", "view_090.jpg"));
      await page.locator(".answer-time", { hasText: "2 views" }).waitFor();
      expect(await page.locator(".thumb").count()).toBe(2);
      await page.getByRole("button", { name: "View 1", exact: true }).click();
      expect(await page.locator(".picture").getAttribute("alt")).toBe("Your picture, view 1 of 2");
      await page.getByRole("button", { name: "Close the picture" }).click();
      // The example of four directions is one place, too.
      await page.getByRole("button", { name: "Example 5" }).click();
      await page.locator(".answer-time", { hasText: "4 views" }).waitFor();
      expect(one).toMatch(/^Near /);
    });
  });

  it("takes photos that are dropped", async () => {
    await visit({}, async ({ page }) => {
      const bytes = [...readFileSync(fixture("rome-colosseum"))];
      await page.evaluate((bytes) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "photo.jpg", { type: "image/jpeg" }));
        for (const type of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
      }, bytes);
      expect(await place(page)).toBe("Near Rome, Italy");
    });
  });

  it("reads a photo's place only to reveal it", async () => {
    await visit({}, async ({ page, asked }) => {
      const reader = () => asked.filter((address) => address.includes("/lite.esm-")).length;
      // A picture of Rome that says it was taken in Sydney: what it says must not move the guess.
      await choose(page, "Photos", upload("sydney.jpg", taken("rome-colosseum", { lat: -33.8568, lng: 151.2153 })));
      expect(await place(page)).toBe("Near Rome, Italy");
      expect(reader()).toBe(0);
      await page.getByRole("button", { name: "How close?" }).click();
      await expect.poll(() => page.locator(".revealed").textContent()).toMatch(/^16,3\d\d km off0 of 5,000 points. By the place in the photo.$/);
      expect(reader()).toBe(1);
    });
  });

  it("asks where the device is when told to, and not before", async () => {
    const count = async (page: Page) =>
      page.addInitScript(() => {
        const ask = Geolocation.prototype.getCurrentPosition;
        Object.assign(window, { asked: 0 });
        Geolocation.prototype.getCurrentPosition = function (...of) {
          Object.assign(window, { asked: 1 });
          return ask.apply(this, of);
        };
      });
    const options = { geolocation: { latitude: ROME.lat, longitude: ROME.lng }, permissions: ["geolocation"] };
    await visit(
      options,
      async ({ page }) => {
        await choose(page, "Photos", fixture("rome-colosseum"));
        await place(page);
        await page.getByRole("button", { name: "How close?" }).click();
        const here = page.getByRole("button", { name: "I am here" });
        await here.waitFor();
        expect(await page.evaluate("asked")).toBe(0);
        await here.click();
        await expect.poll(() => page.locator(".revealed").textContent()).toMatch(/^[\d.]+ km off.*By where this device is.$/);
        expect(await page.evaluate("asked")).toBe(1);
      },
      count,
    );
  });

  it("makes a picture to share", async () => {
    await visit({}, async ({ page }) => {
      await page.getByRole("button", { name: "Example 1" }).click();
      await place(page);
      const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Share" }).click()]);
      expect(download.suggestedFilename()).toBe("landfall.png");
      const png = readFileSync(await download.path());
      expect([png.toString("latin1", 1, 4), png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual(["PNG", 1080, 1350]);
      expect(png.length).toBeGreaterThan(100_000);
    });
  });
});

describe("the camera", () => {
  const camera = { permissions: ["camera"] };

  it("guesses all the time, takes a still, and adds one to another", async () => {
    await visit(camera, async ({ page }) => {
      await page.getByRole("button", { name: "Camera" }).click();
      // The camera sees the Colosseum.
      expect(await place(page)).toMatch(/^Near /);
      // While the engine works the page goes on: the longest waits between frames of the picture are short.
      const gaps = await page.evaluate(async () => {
        const gaps: number[] = [];
        let before = performance.now();
        while (gaps.length < 120) {
          const now = await new Promise<number>((done) => requestAnimationFrame(done));
          gaps.push(now - before);
          before = now;
        }
        return gaps.sort((a, b) => a - b);
      });
      console.log(`frames while guessing: median ${gaps[60]!.toFixed(1)} ms, 95th ${gaps[114]!.toFixed(1)} ms, longest ${gaps[119]!.toFixed(1)} ms`);
      expect(gaps[60]).toBeLessThan(34);
      expect(gaps[114]).toBeLessThan(150);
      await page.getByRole("button", { name: "Take the picture" }).click();
      await page.locator(".more").waitFor();
      await page.locator(".more").getByRole("button", { name: "Camera" }).click();
      await page.getByRole("button", { name: "Guess all the time" }).click();
      expect(await page.getByRole("button", { name: "Guess all the time" }).getAttribute("aria-pressed")).toBe("false");
      await page.getByRole("button", { name: "Take the picture" }).click();
      await page.locator(".answer-time", { hasText: "2 views" }).waitFor();
      // The camera is off now.
      expect(await page.evaluate(() => document.querySelector("video"))).toBeNull();
    });
  });

  const fail = (name: string) => (page: Page) =>
    page.addInitScript((name) => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", name));
    }, name);

  it.each([
    ["refused", "The camera was refused", fail("NotAllowedError")],
    ["absent", "No camera was found", fail("NotFoundError")],
    ["in use", "in use by another app", fail("NotReadableError")],
  ])("that is %s is told in a sentence, and photos go on", async (_, words, before) => {
    await visit(
      { ready: false },
      async ({ page }) => {
        await page.getByRole("button", { name: "Camera" }).click();
        expect(await page.getByRole("alert").textContent()).toContain(words);
        expect(await page.locator("label.button", { hasText: "Photos" }).isVisible()).toBe(true);
      },
      before,
    );
  });

  it("refused by the browser itself is told, too", async () => {
    await visit(
      { ready: false },
      async ({ page }) => {
        await page.getByRole("button", { name: "Camera" }).click();
        expect(await page.getByRole("alert").textContent()).toContain("The camera was refused");
      },
      async (page, context) => {
        const session = await context.newCDPSession(page);
        await session.send("Browser.setPermission" as never, { permission: { name: "camera" }, setting: "denied" } as never);
      },
    );
  });

  it("on an address that is not secure is told, and photos are answered", async () => {
    const at = new URL((await import("./page.ts")).BASE);
    at.hostname = "plain.test";
    await visit({ at: at.href }, async ({ page }) => {
      await page.getByRole("button", { name: "Camera" }).click();
      expect(await page.getByRole("alert").textContent()).toContain("secure pages only");
      await choose(page, "Photos", fixture("rome-colosseum"));
      expect(await place(page)).toBe("Near Rome, Italy");
    });
  });
});

describe("what cannot be read", () => {
  it("is told in a sentence, and the page lives", async () => {
    await visit({ lenient: true }, async ({ page }) => {
      const broken = readFileSync(fixture("rome-colosseum")).subarray(0, 3000);
      const heic = Buffer.concat([Buffer.from("\0\0\0\x18ftypheic\0\0\0\0mif1heic", "latin1"), Buffer.alloc(2000)]);
      const files: [string, Buffer, string][] = [
        ["broken.jpg", broken, "image/jpeg"],
        ["text.jpg", Buffer.from("no picture at all"), "image/jpeg"],
        ["photo.heic", heic, "image/heic"],
        ["huge.png", plain(12_000, 9_000), "image/png"],
      ];
      for (const [name, bytes, type] of files) {
        await choose(page, "Photos", upload(name, bytes, type));
        await page.getByRole("alert").waitFor();
        const message = (await page.getByRole("alert").textContent()) ?? "";
        console.log(`${name}: ${message}`);
        expect(message, name).toMatch(/^[A-Z].{30,}[.]$/);
        expect(await page.locator(".hero").isVisible(), name).toBe(true);
        await page.getByRole("button", { name: "Close" }).click();
      }
      // One pixel is a picture, if a poor one: an answer or a sentence.
      await choose(page, "Photos", upload("dot.png", plain(1, 1), "image/png"));
      await page.locator(".answer, [role=alert]").first().waitFor();
      // A second view that cannot be read leaves the first as it was.
      if (await page.locator(".hero").isVisible()) await choose(page, "Photos", fixture("rome-colosseum"));
      await page.locator(".more").waitFor();
      await choose(page, "Photos", upload("broken.jpg", broken));
      await page.getByRole("alert").waitFor();
      await page.locator(".answer").waitFor();
      expect(await page.locator(".thumb").count()).toBe(0);
    });
  });

  it("a model that does not arrive is told, and fetched when asked again", async () => {
    let broken = true;
    await visit(
      { ready: false, lenient: true, serviceWorkers: "block" },
      async ({ page }) => {
        await page.locator(".status [role=alert]").waitFor();
        expect(await page.locator(".status [role=alert]").textContent()).toMatch(/check the connection and try again/);
        broken = false;
        await page.getByRole("button", { name: "Try again" }).click();
        await page.locator(".status", { hasText: "model ·" }).waitFor();
        await page.getByRole("button", { name: "Example 1" }).click();
        expect(await place(page)).toBe("Near Rome, Italy");
      },
      async (_, context) => {
        await context.route("**/encoder.onnx", (route) => (broken ? route.abort("connectionreset") : route.continue()));
      },
    );
  });
});
