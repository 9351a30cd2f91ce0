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

/** Serves a folder under `/in/a/folder/` on a port of its own. `change` may give a file other bytes. */
export async function serve(
  folder: string,
  change: (file: string, bytes: Buffer) => Buffer | string = (_, bytes) => bytes,
): Promise<{ server: Server; base: string }> {
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://host").pathname);
    const file = path.replace(/^\/in\/a\/folder\//, "").replace(/(^|\/)$/, "$1index.html");
    try {
      const bytes = await readFile(join(folder, normalize(`/${file}`)));
      response.writeHead(path.startsWith("/in/a/folder/") ? 200 : 404, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
      response.end(change(file, bytes));
    } catch {
      response.writeHead(404).end("not here");
    }
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return { server, base: `http://127.0.0.1:${port}/in/a/folder/` };
}
