// The bundles beside the page: `bundles/NAME/` of a build, and of `npm run dev`.
//
// A build takes pocket, or those that LANDFALL_PAGE_BUNDLES names: LANDFALL_PAGE_BUNDLES=pocket,desktop npm run build.
// (`landfall serve` needs neither: it serves bundles from where they lie.)
import { createHash } from "node:crypto";
import { copyFileSync, createReadStream, existsSync, mkdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { Plugin } from "vite";
import { type BundleFile, filesOf, type Manifest } from "../src/engine/manifest.ts";

const BUNDLES = resolve(import.meta.dirname, "../../model/bundles");

/** The cache directory, where `cargo xtask setup` puts what is not in git: as `model/src/bundle.rs` has it. */
function cache(): string {
  const { LANDFALL_CACHE, LOCALAPPDATA, XDG_CACHE_HOME } = process.env;
  if (LANDFALL_CACHE) return LANDFALL_CACHE;
  if (process.platform === "win32") return join(LOCALAPPDATA ?? join(homedir(), "AppData/Local"), "landfall/cache");
  if (process.platform === "darwin") return join(homedir(), "Library/Caches/landfall");
  return join(XDG_CACHE_HOME || join(homedir(), ".cache"), "landfall");
}

/** Where a bundle's file lies; an error that says what to do when it is nowhere. */
function place(name: string, file: BundleFile): string {
  const places = [join(BUNDLES, name, file.file), join(cache(), "bundles", `${file.sha256}.onnx`)];
  const found = places.find(existsSync);
  if (!found) throw new Error(`${places[0]} is not there: \`cargo xtask setup\` fetches what a bundle lacks`);
  return found;
}

function described(name: string): Manifest {
  return JSON.parse(readFileSync(join(BUNDLES, name, "bundle.json"), "utf8")) as Manifest;
}

/** Where a bundle's files lie, by name. */
function placesOf(name: string): Map<string, string> {
  const files = filesOf(described(name)).map((file): [string, string] => [file.file, place(name, file)]);
  return new Map([["bundle.json", join(BUNDLES, name, "bundle.json")], ...files]);
}

/** Copies a bundle into a build and checks what was copied. */
function copy(name: string, out: string) {
  const folder = join(out, "bundles", name);
  mkdirSync(folder, { recursive: true });
  for (const [file, from] of placesOf(name)) copyFileSync(from, join(folder, file));
  for (const { file, sha256 } of filesOf(described(name))) {
    const found = createHash("sha256").update(readFileSync(join(folder, file))).digest("hex");
    if (found !== sha256) throw new Error(`${file} of the bundle ${name} is damaged or of another version`);
  }
}

export function bundles(names = (process.env["LANDFALL_PAGE_BUNDLES"] ?? "pocket").split(",").filter(Boolean)): Plugin[] {
  let out = "";
  const copying: Plugin = {
    name: "landfall-bundles-copied",
    apply: "build",
    configResolved: (config) => void (out = resolve(config.root, config.build.outDir)),
    closeBundle() {
      for (const name of names) copy(name, out);
    },
  };
  const serving: Plugin = {
    name: "landfall-bundles-served",
    apply: "serve",
    configureServer(server) {
      server.middlewares.use("/bundles", (request, response, next) => {
        const [, name = "", file = ""] = (request.url ?? "").split(/[/?]/);
        const from = existsSync(join(BUNDLES, name, "bundle.json")) ? placesOf(name).get(file) : undefined;
        if (from) createReadStream(from).pipe(response);
        else next();
      });
    },
  };
  return [copying, serving];
}
