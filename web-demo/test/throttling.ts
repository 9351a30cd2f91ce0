// Chromium with a persistent profile, and CPU throttling of all its page processes.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium, type Browser } from "playwright-core";

/** Length of a cycle of running and stopping, in milliseconds. */
const CYCLE_MS = 20;

/** Creates a folder for a browser profile. Unlike Playwright's private profiles, it keeps compiled code. */
export async function createProfile(): Promise<{ folder: string; remove(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "landfall-profile-"));
  return { folder, remove: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) };
}

/** Runs `use` with a Chromium that has this profile, then closes it. */
export async function withBrowser<T>(folder: string, use: (browser: Browser) => Promise<T>): Promise<T> {
  await rm(join(folder, "DevToolsActivePort"), { force: true });
  const executable = process.env["LANDFALL_CHROMIUM"] ?? "/usr/bin/chromium";
  const flags = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--window-size=390,844",
  ];
  const child = spawn(executable, [...flags, `--user-data-dir=${folder}`, "about:blank"], { stdio: "ignore" });
  const exited = once(child, "exit");
  try {
    let port: string | undefined;
    while (!port) {
      await sleep(50);
      if (child.exitCode !== null) throw new Error(`${executable} exited with code ${child.exitCode}: is it Chromium?`);
      port = (await readFile(join(folder, "DevToolsActivePort"), "utf8").catch(() => "")).split("\n")[0];
    }
    const browser = await chromium.connectOverCDP(`http://127.0.0.1:${port}`);
    try {
      return await use(browser);
    } finally {
      // A clean shutdown writes compiled code to the profile.
      const session = await browser.newBrowserCDPSession();
      await session.send("Browser.close").catch(() => undefined);
    }
  } finally {
    const killTimer = setTimeout(() => child.kill("SIGKILL"), 10_000);
    await exited;
    clearTimeout(killTimer);
  }
}

/**
 * Runs `work` while all threads of all pages are slowed down by the factor `rate`, by stopping their processes
 * periodically. Chromium's own throttling (Emulation.setCPUThrottlingRate) affects only the main thread, while
 * inference runs in a worker. The browser process and the network are not slowed down.
 */
export async function withThrottling<T>(browser: Browser, rate: number, work: () => Promise<T>): Promise<T> {
  if (rate === 1) return work();
  const session = await browser.newBrowserCDPSession();
  let pages: number[] = [];
  const listRenderers = async () => {
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    pages = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
  };
  const signalAll = (signal: "SIGSTOP" | "SIGCONT") => {
    for (const id of pages) {
      try {
        process.kill(id, signal);
      } catch {
        // The process has exited.
      }
    }
  };
  let isDone = false;
  await listRenderers();
  const throttling = (async () => {
    let [ranMs, stoppedMs] = [0, 0];
    for (let cycle = 0; !isDone; cycle++) {
      if (cycle % 5 === 0) await listRenderers();
      // Timers are late; the following cycles compensate.
      const from = performance.now();
      const stopMs = ranMs * (rate - 1) - stoppedMs;
      if (stopMs > 1) {
        signalAll("SIGSTOP");
        await sleep(stopMs);
        signalAll("SIGCONT");
        stoppedMs += performance.now() - from;
      }
      const at = performance.now();
      await sleep(CYCLE_MS / rate);
      ranMs += performance.now() - at;
    }
  })();
  try {
    return await work();
  } finally {
    isDone = true;
    await throttling;
    await session.detach();
  }
}
