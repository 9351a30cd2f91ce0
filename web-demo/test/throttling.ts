// A Chromium with a profile that stays, and a way to make its pages as slow as a phone's.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium, type Browser } from "playwright-core";

/** How long a page's processes run and stand still in turns, together, in milliseconds. */
const TURN_MS = 20;

/** A folder for a browser's profile. Ordinary profiles keep compiled code, which Playwright's private ones do not. */
export async function profile(): Promise<{ folder: string; remove(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "landfall-profile-"));
  return { folder, remove: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) };
}

/** Starts Chromium with a profile, and ends it after `use`. */
export async function withBrowser<T>(folder: string, use: (browser: Browser) => Promise<T>): Promise<T> {
  await rm(join(folder, "DevToolsActivePort"), { force: true });
  const executable = process.env["LANDFALL_CHROMIUM"] ?? "/usr/bin/chromium";
  const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0", "--window-size=390,844"];
  const child = spawn(executable, [...flags, `--user-data-dir=${folder}`, "about:blank"], { stdio: "ignore" });
  const ended = once(child, "exit");
  try {
    let port: string | undefined;
    while (!port) {
      await sleep(50);
      if (child.exitCode !== null) throw new Error(`${executable} ended with ${child.exitCode}: is it a Chromium?`);
      port = (await readFile(join(folder, "DevToolsActivePort"), "utf8").catch(() => "")).split("\n")[0];
    }
    const browser = await chromium.connectOverCDP(`http://127.0.0.1:${port}`);
    try {
      return await use(browser);
    } finally {
      // In an orderly way: what it has compiled is written to the profile.
      const session = await browser.newBrowserCDPSession();
      await session.send("Browser.close").catch(() => undefined);
    }
  } finally {
    const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
    await ended;
    clearTimeout(late);
  }
}

/**
 * Makes all threads of all pages `rate` times slower while `work` is done: their processes stand still for the rest of the
 * time. Chromium's own throttling (Emulation.setCPUThrottlingRate) reaches a page's main thread alone, and ours computes in
 * a worker. The browser's own process and its network are not slowed.
 */
export async function slowed<T>(browser: Browser, rate: number, work: () => Promise<T>): Promise<T> {
  if (rate === 1) return work();
  const session = await browser.newBrowserCDPSession();
  let pages: number[] = [];
  const look = async () => {
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    pages = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
  };
  const tell = (signal: "SIGSTOP" | "SIGCONT") => {
    for (const id of pages) {
      try {
        process.kill(id, signal);
      } catch {
        // It has ended meanwhile.
      }
    }
  };
  let over = false;
  await look();
  const throttling = (async () => {
    let [ran, stood] = [0, 0];
    for (let turn = 0; !over; turn++) {
      if (turn % 5 === 0) await look();
      // Timers come late: what a turn had too much of is made up for in the next ones.
      const from = performance.now();
      const standing = ran * (rate - 1) - stood;
      if (standing > 1) {
        tell("SIGSTOP");
        await sleep(standing);
        tell("SIGCONT");
        stood += performance.now() - from;
      }
      const at = performance.now();
      await sleep(TURN_MS / rate);
      ran += performance.now() - at;
    }
  })();
  try {
    return await work();
  } finally {
    over = true;
    await throttling;
    await session.detach();
  }
}
