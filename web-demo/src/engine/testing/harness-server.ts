// Serves the built engine, with simulated failures, and opens it in the tests' Chromium.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { build } from "vite";
import { inject } from "vitest";
import { bundles } from "../../../build/bundles.ts";
import config from "../../../vite.config.ts";
import type { BundleName } from "../types";

const ROOT = resolve(import.meta.dirname, "../../..");
const REPOSITORY = resolve(ROOT, "..");
/** A host name of this machine that is not a secure context, unlike 127.0.0.1 (`test/global-setup.ts`). */
const INSECURE = "plain.test";
const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};
/** The policy of the page: everything from its own origin, no inline scripts. */
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; img-src 'self' data: blob:";

/** Called before each request is answered; returns `true` if it has answered the request. */
export type Interceptor = (path: string, request: IncomingMessage, response: ServerResponse) => boolean;

export class HarnessServer {
  readonly folder: string;
  readonly origin: string;
  /** Whether the page is cross-origin isolated, so that it can use threads. */
  isolated = true;
  intercept: Interceptor = () => false;
  /** Requested paths, in order. */
  requestedPaths: string[] = [];
  readonly #server: Server;
  readonly #browser: Browser;

  private constructor(folder: string, server: Server, browser: Browser) {
    this.folder = folder;
    this.#server = server;
    this.#browser = browser;
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("request", (request, response) => this.#respond(request, response));
  }

  /** Builds the harness like `npm run build` builds the page, and serves it with the fixtures and these bundles. */
  static async start(names: BundleName[] = ["pocket"]): Promise<HarnessServer> {
    const folder = mkdtempSync(join(tmpdir(), "landfall-engine-"));
    const input = join(ROOT, "src/engine/testing/harness.html");
    const { base = "./", resolve: resolveOptions = {}, worker = {} } = config;
    await build({
      ...{
        base,
        resolve: resolveOptions,
        worker,
        root: ROOT,
        configFile: false,
        logLevel: "error",
        plugins: [bundles(names)],
      },
      build: { target: "es2022", outDir: folder, emptyOutDir: true, rolldownOptions: { input } },
    });
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return new HarnessServer(folder, server, await chromium.connect(inject("optimizingBrowser")));
  }

  /** URL of the page with the engine. */
  get harness(): string {
    return `${this.origin}/src/engine/testing/harness.html`;
  }

  /** Opens a page with the engine, in a new browser context or as another tab of `context`. */
  async open(context?: BrowserContext, isSecure = true): Promise<{ page: Page; context: BrowserContext }> {
    const profile = context ?? (await this.#browser.newContext());
    const page = await profile.newPage();
    await page.goto(isSecure ? this.harness : this.harness.replace("127.0.0.1", INSECURE));
    return { page, context: profile };
  }

  async stop(): Promise<void> {
    await this.#browser.close();
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
    rmSync(this.folder, { recursive: true, force: true });
  }

  #respond(request: IncomingMessage, response: ServerResponse) {
    const path = decodeURIComponent(new URL(request.url ?? "/", this.origin).pathname);
    this.requestedPaths.push(path);
    response.setHeader("Content-Security-Policy", POLICY);
    if (this.isolated) {
      response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
      response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    }
    if (this.intercept(path, request, response)) return;
    // The harness page is three folders deep, and bundle URLs are relative to the page.
    const file = path.startsWith("/fixtures/")
      ? join(REPOSITORY, path)
      : join(this.folder, path.replace("/src/engine/testing/bundles/", "/bundles/"));
    send(file, request, response);
  }
}

/** Sends a file, or the requested range of it. */
export function send(file: string, request: IncomingMessage, response: ServerResponse) {
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  const bytes = readFileSync(file);
  response.setHeader("Content-Type", TYPES[extname(file)] ?? "application/octet-stream");
  const from = /^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1];
  if (from !== undefined) {
    response.writeHead(206, {
      "Content-Range": `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
      "Content-Length": bytes.length - Number(from),
    });
    response.end(bytes.subarray(Number(from)));
    return;
  }
  response.writeHead(200, { "Content-Length": bytes.length });
  response.end(request.method === "HEAD" ? undefined : bytes);
}
