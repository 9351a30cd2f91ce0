// Vite plugins that provide the bundles as `bundles/NAME/`, in a build and in `npm run dev`.
//
// A build contains pocket, or the bundles listed in LANDFALL_PAGE_BUNDLES: LANDFALL_PAGE_BUNDLES=pocket,desktop npm
// run build. (`landfall serve` needs neither: it serves the bundles from their original location.)
import { createHash } from "node:crypto";
import { copyFileSync, createReadStream, existsSync, mkdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { Plugin } from "vite";
import { type BundleFile, filesOf, type Manifest } from "../src/engine/manifest.ts";

const BUNDLES = resolve(import.meta.dirname, "../../model/bundles");

/** The cache directory, where `cargo xtask setup` stores files that are not in git. As in `model/src/bundle.rs`. */
function cacheDir(): string {
  const { LANDFALL_CACHE, LOCALAPPDATA, XDG_CACHE_HOME } = process.env;
  if (LANDFALL_CACHE) return LANDFALL_CACHE;
  if (process.platform === "win32") return join(LOCALAPPDATA ?? join(homedir(), "AppData/Local"), "landfall/cache");
  if (process.platform === "darwin") return join(homedir(), "Library/Caches/landfall");
  return join(XDG_CACHE_HOME || join(homedir(), ".cache"), "landfall");
}

/** Path of a file of a bundle. */
function locate(name: string, file: BundleFile): string {
  const candidates = [join(BUNDLES, name, file.file), join(cacheDir(), "bundles", `${file.sha256}.onnx`)];
  const found = candidates.find(existsSync);
  if (!found) throw new Error(`${candidates[0]} is missing: run \`cargo xtask setup\``);
  return found;
}

function readManifest(name: string): Manifest {
  return JSON.parse(readFileSync(join(BUNDLES, name, "bundle.json"), "utf8")) as Manifest;
}

/** Paths of a bundle's files by name. */
function pathsOf(name: string): Map<string, string> {
  const files = filesOf(readManifest(name)).map((file): [string, string] => [file.file, locate(name, file)]);
  return new Map([["bundle.json", join(BUNDLES, name, "bundle.json")], ...files]);
}

/** Copies a bundle into a build and checks the hashes of the copies. */
function copy(name: string, outDir: string) {
  const folder = join(outDir, "bundles", name);
  mkdirSync(folder, { recursive: true });
  for (const [file, path] of pathsOf(name)) copyFileSync(path, join(folder, file));
  for (const { file, sha256 } of filesOf(readManifest(name))) {
    const found = createHash("sha256")
      .update(readFileSync(join(folder, file)))
      .digest("hex");
    if (found !== sha256) throw new Error(`${file} of the bundle ${name} is corrupt or of another version`);
  }
}

export function bundles(
  names = (process.env["LANDFALL_PAGE_BUNDLES"] ?? "pocket").split(",").filter(Boolean),
): Plugin[] {
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
