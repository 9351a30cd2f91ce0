// The part of bundle.json that downloading needs; the WebAssembly module validates the rest.
import { EngineError } from "./types.ts";

/** The files listed in bundle.json. */
export interface Manifest {
  name: string;
  version: string;
  encoder: BundleFile & { activations?: string; adapter?: BundleFile };
  head: BundleFile;
  cells: BundleFile;
}

export interface BundleFile {
  file: string;
  sha256: string;
  bytes?: number;
}

/** All files of a bundle except bundle.json. */
export function filesOf({ encoder, head, cells }: Manifest): BundleFile[] {
  return [cells, head, ...(encoder.adapter ? [encoder.adapter] : []), encoder];
}

/** Parses bundle.json. Returns `undefined` for anything else, such as a host's HTML page for missing files. */
export function parseManifest(text: string): Manifest | undefined {
  try {
    const manifest = JSON.parse(text) as Manifest;
    const isFile = ({ file, sha256 }: BundleFile) => /^[\w.-]+$/.test(file) && /^[0-9a-f]{64}$/.test(sha256);
    return filesOf(manifest).every(isFile) ? manifest : undefined;
  } catch {
    return undefined;
  }
}

export function corruptFile(file: string): EngineError {
  return new EngineError(
    "corrupt",
    `The model's ${file} was corrupt after two downloads: the server has a wrong copy of it; try again later.`,
  );
}
