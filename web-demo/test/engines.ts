// Firefox and WebKitGTK, driven by their WebDriver servers: Playwright drives only its own builds of them.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { Readable } from "node:stream";
import { Builder, Capabilities, type WebDriver } from "selenium-webdriver";
import { DriverService } from "selenium-webdriver/remote";

/** A browser for tests. */
export interface Engine {
  name: string;
  /** What has to be installed: for each program, its possible names. As in `xtask/src/browser.rs`. */
  programs: string[][];
  /** Index of the WebDriver server in `programs`, and its arguments. */
  driver: { program: number; args: string[] };
  /** Capabilities of the session; `paths` are those of the programs. */
  capabilities: (paths: string[]) => Record<string, unknown>;
  /** Whether it needs a display. */
  needsDisplay: boolean;
  /** Threads that the page uses with four cores. */
  threads: number;
}

/** Firefox's own fake camera, without a question to the user. */
const FIREFOX_PREFERENCES = {
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
};

/** WebKit's own fake camera. WebDriver sessions are not asked. */
const WEBKIT_ARGUMENTS = ["--automation", "--enable-media-stream=true", "--enable-mock-capture-devices=true"];

export const ENGINES: Engine[] = [
  {
    name: "Firefox",
    programs: [["geckodriver"], ["firefox-esr", "firefox"]],
    driver: { program: 0, args: ["--websocket-port=0"] },
    capabilities: ([, binary]) => ({
      browserName: "firefox",
      "moz:firefoxOptions": { binary, args: ["-headless"], prefs: FIREFOX_PREFERENCES },
    }),
    needsDisplay: false,
    threads: 3,
  },
  {
    name: "WebKitGTK",
    programs: [["WebKitWebDriver"], ["Xvfb"]],
    driver: { program: 0, args: [] },
    capabilities: () => ({
      browserName: "MiniBrowser",
      "webkitgtk:browserOptions": { args: WEBKIT_ARGUMENTS },
    }),
    needsDisplay: true,
    // It has no SharedArrayBuffer, on isolated pages neither.
    threads: 1,
  },
];

/** The name of the first program of a browser that is not installed. */
export function missingProgram({ programs }: Engine): string | undefined {
  return programs.find((names) => !find(names))?.[0];
}

/** The path of a program: on PATH, or where `cargo install` puts it. */
function find(names: string[]): string | undefined {
  const cargo = join(process.env["CARGO_HOME"] ?? join(homedir(), ".cargo"), "bin");
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), cargo].filter(Boolean);
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A running browser with a window like a phone's. */
export interface Session {
  driver: WebDriver;
  stop(): Promise<void>;
}

/** Starts a browser whose programs are installed. */
export async function start(engine: Engine): Promise<Session> {
  const home = await mkdtemp(join(tmpdir(), "landfall-webdriver-"));
  const paths = engine.programs.map((names) => find(names)!);
  const display = engine.needsDisplay ? await startDisplay() : undefined;
  const environment = { ...process.env, HOME: home, ...(display && { DISPLAY: display.name }), NO_AT_BRIDGE: "1" };
  const service = new DriverService.Builder(paths[engine.driver.program]!)
    .addArguments(...engine.driver.args)
    .setLoopback(true)
    .setEnvironment(environment)
    .build();
  let driver: WebDriver | undefined;
  const stop = async () => {
    await driver?.quit().catch(() => undefined);
    await service.kill();
    display?.process.kill();
    await rm(home, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const capabilities = new Capabilities({ ...engine.capabilities(paths), unhandledPromptBehavior: "accept" });
    const builder = new Builder().disableEnvironmentOverrides().usingServer(await service.start());
    driver = await builder.withCapabilities(capabilities).build();
    await driver.manage().window().setRect({ x: 0, y: 0, width: 390, height: 844 });
    return { driver, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Starts a virtual display and returns its name. */
async function startDisplay(): Promise<{ name: string; process: ChildProcess }> {
  const args = ["-displayfd", "3", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"];
  const process = spawn(find(["Xvfb"])!, args, { stdio: ["ignore", "ignore", "ignore", "pipe"] });
  const number = await Promise.race([once(process.stdio[3] as Readable, "data"), once(process, "exit")]);
  if (process.exitCode !== null) throw new Error(`Xvfb exited with code ${process.exitCode}`);
  return { name: `:${String(number[0]).trim()}`, process };
}
