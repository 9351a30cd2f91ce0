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
  /** Hash and size of the contents. The file itself may be compressed with gzip. */
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
    return filesOf(manifest).every(isFile) ? manifest : undefined;
  } catch {
    return undefined;
  }
}

/** A file of this size in bytes or less is one file on the server. Common static hosts refuse files of more than 20 MB. */
export const MAX_PART_BYTES = 16 << 20;

/** Name of the list of parts beside bundle.json. */
export const PARTS_FILE = "parts.json";

/** A part of a larger file, as written by the build. */
export interface Part {
  file: string;
  bytes: number;
  sha256: string;
}

/** Parses the list of parts. Returns `undefined` for anything else, such as a host's HTML page for missing files. */
export function parseParts(text: string): Record<string, Part[]> | undefined {
  try {
    const files = JSON.parse(text) as Record<string, Part[]>;
    const isPart = ({ file, bytes, sha256 }: Part) => isFile({ file, sha256 }) && bytes > 0;
    const lists = Object.values(files);
    return lists.every((parts) => parts.length > 0 && parts.every(isPart)) ? files : undefined;
  } catch {
    return undefined;
  }
}

function isFile({ file, sha256 }: BundleFile): boolean {
  return /^[\w.-]+$/.test(file) && /^[0-9a-f]{64}$/.test(sha256);
}

export function corruptFile(file: string): EngineError {
  return new EngineError(
    "corrupt",
    `The model's ${file} was corrupt after two downloads: the server has a wrong copy of it; try again later.`,
  );
}
