// A bundle as its bundle.json describes it; the core checks the rest of it.
import { EngineError } from "./types.ts";

/** The part of bundle.json that says which files there are. */
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

/** Every file of a bundle beside its bundle.json. */
export function filesOf({ encoder, head, cells }: Manifest): BundleFile[] {
  return [cells, head, ...(encoder.adapter ? [encoder.adapter] : []), encoder];
}

/** Reads bundle.json; `undefined` when it is something else, such as a host's page for what it has not. */
export function parseManifest(text: string): Manifest | undefined {
  try {
    const manifest = JSON.parse(text) as Manifest;
    const isFile = ({ file, sha256 }: BundleFile) => /^[\w.-]+$/.test(file) && /^[0-9a-f]{64}$/.test(sha256);
    return filesOf(manifest).every(isFile) ? manifest : undefined;
  } catch {
    return undefined;
  }
}

export function damaged(file: string): EngineError {
  return new EngineError(
    "corrupt",
    `The model's ${file} arrives damaged, twice in a row: this page's server has a wrong copy; try again later.`,
  );
}
