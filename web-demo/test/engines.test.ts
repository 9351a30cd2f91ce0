// The built page in Firefox and WebKitGTK: the same steps in each, with one start of the browser. Skipped where it is not
// installed.

import { By, type WebDriver, type WebElement } from "selenium-webdriver";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { goldenPredictions } from "../src/engine/testing/parity.ts";
import { ENGINES, missingProgram, start, type Engine, type Session } from "./engines.ts";
import { fixture } from "./images.ts";
import { serve, type Host } from "./static-server.ts";

/** Generous, since other tests keep the CPU busy, and WebKitGTK draws without a GPU. */
const TIMEOUT_MS = 100_000;
const TEST_TIMEOUT_MS = 240_000;
const PHOTO = fixture("rome-colosseum");
/** Removed from the page's Content-Security-Policy, so that the tests contact no other computer. */
const TILES = /https:\/\/tile\.openstreetmap\.org/g;
/** Runs in the engine's worker before its own code: as on a phone, so that threads are used. */
const CORES = 'Object.defineProperty(navigator, "hardwareConcurrency", { value: 4 });';

for (const engine of ENGINES) {
  const missing = missingProgram(engine);
  if (missing)
    console.log(
      `skipped: the page in ${engine.name}, which needs ${missing}; \`cargo xtask setup --all-browsers\` installs it`,
    );
  describe.skipIf(missing)(`the page in ${engine.name}`, { timeout: TEST_TIMEOUT_MS }, () => steps(engine));
}

/** The tests, each of which continues where the previous one ended. */
function steps(engine: Engine): void {
  let session: Session;
  let driver: WebDriver;
  let host: Host;
  let requested: string[] = [];

  beforeAll(async () => {
    host = await serve(inject("dist"), {
      isolated: true,
      before: (file) => void requested.push(file),
      change(file, bytes) {
        if (/assets\/worker-/.test(file)) return `${CORES}\n${bytes.toString()}`;
        return file === "index.html" ? bytes.toString().replaceAll(TILES, "") : bytes;
      },
    });
    session = await start(engine);
    driver = session.driver;
  });
  afterAll(async () => {
    await session?.stop();
    host?.server.closeAllConnections();
    host?.server.close();
  });

  /** Waits until the text of an element matches, and returns it. */
  async function text(selector: string, pattern: RegExp): Promise<string> {
    let found = "";
    const script = "return document.querySelector(arguments[0])?.textContent ?? ''";
    const matches = async () => pattern.test((found = await driver.executeScript<string>(script, selector)));
    await driver.wait(matches, TIMEOUT_MS).catch(() => expect.fail(`${selector} is "${found}", not ${pattern}`));
    return found;
  }

  /** Opens the page anew. (Firefox's driver reloads pages without their service worker.) */
  async function visit(): Promise<void> {
    await driver.get("about:blank");
    await driver.get(host.base);
  }

  const find = (selector: string): Promise<WebElement> => driver.findElement(By.css(selector));
  const count = async (selector: string) => (await driver.findElements(By.css(selector))).length;
  const ready = () => text(".status", /^Pocket model · CPU, \d threads?/);
  const button = (name: string) =>
    driver.findElement(By.xpath(`//button[@aria-label="${name}" or normalize-space()="${name}"]`));

  async function choosePhoto(): Promise<void> {
    await (await find("label.button input[type=file]")).sendKeys(PHOTO);
    await text(".prediction .place-name", /^Somewhere in Europe$/);
  }

  it("loads", async () => {
    await visit();
    expect(await ready()).toContain(`CPU, ${engine.threads} thread`);
    expect(await count("[role=alert]:not(:empty)")).toBe(0);
  });

  it("answers a photo as the agent does", async () => {
    await choosePhoto();
    const [golden] = goldenPredictions("pocket").filter(({ image }) => PHOTO.endsWith(image));
    const radii = (await text(".radii", /km/)).match(/[\d,]+(?= km)/g)!.map((km) => Number(km.replaceAll(",", "")));
    expect(radii).toHaveLength(2);
    for (const [i, km] of [golden!.radius_km.p50, golden!.radius_km.p90].entries())
      expect(Math.abs(radii[i]! - km)).toBeLessThan(0.06 * km);
    expect(await count(".countries li")).toBe(5);
    await (await button("How close?")).click();
    await text(".revealed", /no GPS coordinates/);
  });

  it("answers the camera", async () => {
    await (await find(".brand")).click();
    await (await button("Camera")).click();
    await text(".prediction .place-name", /^(Near|Somewhere) /);
    await (await button("Take photo")).click();
    await text(".add-view", /Camera/);
    expect(await count("video")).toBe(0);
    await text(".prediction .place-name", /^(Near|Somewhere) /);
  });

  it("keeps the model, its files and the settings", async () => {
    await text(".status", /works offline/);
    await (await button("Settings")).click();
    await (await find("#tiles")).click();
    requested = [];
    await visit();
    await ready();
    await choosePhoto();
    expect(requested.filter((file) => /\.onnx|^assets\//.test(file))).toEqual([]);
    expect(await (await find("#tiles")).isSelected()).toBe(true);
  });

  it("works without its host", async () => {
    host.server.closeAllConnections();
    host.server.close();
    await visit();
    await ready();
    await choosePhoto();
  });
}
