// Vite plugins that provide the bundles as `bundles/NAME/`, in a build and in `npm run dev`.
//
// A build contains pocket and, if its files are there, a larger bundle: phone, else desktop. LANDFALL_PAGE_BUNDLES lists
// others: LANDFALL_PAGE_BUNDLES=pocket,desktop npm run build. (`landfall serve` needs neither: it serves the bundles from
// their original location.) In a build, large files are split into parts, since common static hosts refuse them.
import { createHash } from "node:crypto";
import { copyFileSync, createReadStream, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { Plugin } from "vite";
import { gunzipSync } from "node:zlib";
import { isGzip } from "../src/engine/gzip.ts";
import {
  type BundleFile,
  filesOf,
  type Manifest,
  MAX_PART_BYTES,
  type Part,
  PARTS_FILE,
} from "../src/engine/manifest.ts";

export const BUNDLES = resolve(import.meta.dirname, "../../model/bundles");

/** The cache directory, where `cargo xtask setup` stores files that are not in git. As in `model/src/bundle.rs`. */
function cacheDir(): string {
  const { LANDFALL_CACHE, LOCALAPPDATA, XDG_CACHE_HOME } = process.env;
  if (LANDFALL_CACHE) return LANDFALL_CACHE;
  if (process.platform === "win32") return join(LOCALAPPDATA ?? join(homedir(), "AppData/Local"), "landfall/cache");
  if (process.platform === "darwin") return join(homedir(), "Library/Caches/landfall");
  return join(XDG_CACHE_HOME || join(homedir(), ".cache"), "landfall");
}

/** Where a file of a bundle may be. */
function candidates(name: string, file: BundleFile): string[] {
  const cached = join(cacheDir(), "bundles", `${file.sha256}.onnx`);
  return [join(BUNDLES, name, file.file), cached, `${cached}.gz`];
}

/** Path of a file of a bundle. */
function locate(name: string, file: BundleFile): string {
  const paths = candidates(name, file);
  const found = paths.find(existsSync);
  if (!found) throw new Error(`${paths[0]} is missing: run \`cargo xtask setup\``);
  return found;
}

/** Whether all files of a bundle are on this machine. */
export function isComplete(name: string): boolean {
  if (!existsSync(join(BUNDLES, name, "bundle.json"))) return false;
  return filesOf(readManifest(name)).every((file) => candidates(name, file).some(existsSync));
}

/** The bundles of a build. */
function chosen(): string[] {
  const listed = process.env["LANDFALL_PAGE_BUNDLES"];
  if (listed !== undefined) return listed.split(",").filter(Boolean);
  const larger = ["phone", "desktop"].find(isComplete);
  return larger ? ["pocket", larger] : ["pocket"];
}

export function readManifest(name: string): Manifest {
  return JSON.parse(readFileSync(join(BUNDLES, name, "bundle.json"), "utf8")) as Manifest;
}

/** Paths of a bundle's files by name. */
function pathsOf(name: string): Map<string, string> {
  const files = filesOf(readManifest(name)).map((file): [string, string] => [file.file, locate(name, file)]);
  return new Map([["bundle.json", join(BUNDLES, name, "bundle.json")], ...files]);
}

/** Copies a bundle into a build and checks the hashes. */
function copy(name: string, outDir: string) {
  const folder = join(outDir, "bundles", name);
  const paths = pathsOf(name);
  mkdirSync(folder, { recursive: true });
  copyFileSync(paths.get("bundle.json")!, join(folder, "bundle.json"));
  const parts: Record<string, Part[]> = {};
  for (const { file, sha256 } of filesOf(readManifest(name))) {
    const bytes = readFileSync(paths.get(file)!);
    const contents = isGzip(bytes) ? gunzipSync(bytes) : bytes;
    if (sha256Of(contents) !== sha256)
      throw new Error(`${file} of the bundle ${name} is corrupt or of another version`);
    if (bytes.length <= MAX_PART_BYTES) writeFileSync(join(folder, file), bytes);
    else parts[file] = split(folder, file, bytes, MAX_PART_BYTES);
  }
  if (Object.keys(parts).length > 0) writeFileSync(join(folder, PARTS_FILE), JSON.stringify(parts));
}

/** Writes a file as parts of equal size. */
export function split(folder: string, file: string, bytes: Buffer, maxBytes: number): Part[] {
  const count = Math.ceil(bytes.length / maxBytes);
  const size = Math.ceil(bytes.length / count);
  return Array.from({ length: count }, (_, i) => {
    const part = bytes.subarray(i * size, (i + 1) * size);
    const name = `${file}.part${i}`;
    writeFileSync(join(folder, name), part);
    return { file: name, bytes: part.length, sha256: sha256Of(part) };
  });
}

function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export function bundles(names = chosen()): Plugin[] {
  let outDir = "";
  const copyPlugin: Plugin = {
    name: "landfall-copy-bundles",
    apply: "build",
    configResolved: (config) => void (outDir = resolve(config.root, config.build.outDir)),
    closeBundle() {
      for (const name of names) copy(name, outDir);
    },
  };
  const servePlugin: Plugin = {
    name: "landfall-serve-bundles",
    apply: "serve",
    configureServer(server) {
      server.middlewares.use("/bundles", (request, response, next) => {
        const [, name = "", file = ""] = (request.url ?? "").split(/[/?]/);
        const path = existsSync(join(BUNDLES, name, "bundle.json")) ? pathsOf(name).get(file) : undefined;
        if (path) createReadStream(path).pipe(response);
        else next();
      });
    },
  };
  return [copyPlugin, servePlugin];
}
