// A minimal static file server, with simulated failures.

import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".jpg": "image/jpeg",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};

/** Changes to responses, for tests. */
export interface Interception {
  /** Called before each answer, which it may delay. */
  before?: (file: string) => Promise<void> | void;
  /** Replaces the contents of a file. */
  change?: (file: string, bytes: Buffer) => Buffer | string;
  /** Whether to close the connection in the middle of a file. */
  truncate?: (file: string) => boolean;
  /** Whether to redirect `index.html` to its folder, as many hosts do. */
  hidesIndex?: boolean;
  /** Whether to answer with the page, as some hosts do for files that they do not have. */
  substitute?: (file: string) => boolean;
  /** Whether the page is cross-origin isolated, so that it can use threads. */
  isolated?: boolean;
}

export interface Host {
  server: Server;
  base: string;
  /** Bytes sent so far. */
  sent(): number;
}

/** Serves a folder under `/in/a/folder/` on a free port. */
export async function serve(folder: string, interception: Interception = {}): Promise<Host> {
  const { change = (_, bytes) => bytes, truncate = () => false } = interception;
  const { before = () => undefined } = interception;
  const { hidesIndex = false, substitute = () => false, isolated = false } = interception;
  const isolation = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
  let sent = 0;
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://host").pathname);
    if (hidesIndex && path.endsWith("/index.html")) {
      response.writeHead(308, { location: path.replace(/index\.html$/, "") }).end();
      return;
    }
    const file = path.replace(/^\/in\/a\/folder\//, "").replace(/(^|\/)$/, "$1index.html");
    try {
      await before(file);
      if (substitute(file)) {
        const page = await readFile(join(folder, "index.html"));
        response.writeHead(200, { "content-type": "text/html" }).end(page);
        return;
      }
      const bytes = Buffer.from(change(file, await readFile(join(folder, normalize(`/${file}`)))));
      const status = path.startsWith("/in/a/folder/") ? 200 : 404;
      const type = TYPES[extname(file)] ?? "application/octet-stream";
      const headers = { "content-type": type, "content-length": bytes.length, ...(isolated ? isolation : {}) };
      response.writeHead(status, headers);
      if (request.method === "HEAD") response.end();
      else if (truncate(file)) response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy());
      else response.end(bytes);
      sent += bytes.length;
    } catch {
      response.writeHead(404).end("not found");
    }
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return { server, base: `http://127.0.0.1:${port}/in/a/folder/`, sent: () => sent };
}
