// A plain host: files, their types, and nothing else.

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

/** What a test may do to a file on its way. */
export interface Meddling {
  /** Gives a file other contents. */
  change?: (file: string, bytes: Buffer) => Buffer | string;
  /** Gives another file in a file's place. */
  instead?: (file: string) => string;
  /** Breaks the connection off in the middle of a file. */
  cut?: (file: string) => boolean;
}

export interface Host {
  server: Server;
  base: string;
  /** Bytes sent so far. */
  sent(): number;
}

/** Serves a folder under `/in/a/folder/` on a port of its own. */
export async function serve(folder: string, meddling: Meddling = {}): Promise<Host> {
  const { change = (_, bytes) => bytes, instead = (file) => file, cut = () => false } = meddling;
  let sent = 0;
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://host").pathname);
    const file = path.replace(/^\/in\/a\/folder\//, "").replace(/(^|\/)$/, "$1index.html");
    try {
      const bytes = Buffer.from(change(file, await readFile(join(folder, normalize(`/${instead(file)}`)))));
      const status = path.startsWith("/in/a/folder/") ? 200 : 404;
      const type = TYPES[extname(file)] ?? "application/octet-stream";
      response.writeHead(status, { "content-type": type, "content-length": bytes.length });
      if (request.method === "HEAD") response.end();
      else if (cut(file)) response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy());
      else response.end(bytes);
      sent += bytes.length;
    } catch {
      response.writeHead(404).end("not here");
    }
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return { server, base: `http://127.0.0.1:${port}/in/a/folder/`, sent: () => sent };
}
