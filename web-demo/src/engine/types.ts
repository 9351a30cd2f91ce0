// What the page and its engine agree on. The engine turns pictures into answers in a worker; nothing leaves the device.

/** The bundles there are: `pocket` comes with the page, `desktop` on request. */
export type BundleName = "pocket" | "desktop";

/** A place in degrees. */
export interface Point {
  lat: number;
  lng: number;
}

/** A cell (at its mean location), its probability, its outline and its S2 level. The outline is four corners
 * `[lng, lat]`, not closed; across the date line longitudes run on beyond ±180. */
export interface CellShare extends Point {
  p: number;
  /** S2 token. */
  token: string;
  ring: [number, number][];
  level: number;
}

/** What the engine says of the views of one place. */
export interface Answer extends Point {
  /** In words, such as `near Lyon, France`. */
  place: string;
  /** ISO 3166-1 alpha-2 code of the pin's country; `null` at sea. */
  country: string | null;
  /** Points that the pin promises on the World map, 0 to 5,000. */
  expectedScore: number;
  /** Radius around the pin that holds half of the probability, and nine tenths. */
  radiusKm: { p50: number; p90: number };
  /** The likeliest five, likeliest first. */
  countries: { iso2: string; name: string; p: number }[];
  /** Every cell with a probability of at least 1e-4, likeliest first. */
  cells: CellShare[];
  /** The fewest cells that hold half of the probability, as indices into `cells` (those that are in it). */
  region50: number[];
  /** The fewest that hold nine tenths. */
  region90: number[];
  /** Milliseconds taken; `preprocess` holds decoding, resizing and normalising, `decode` what follows the networks. */
  ms: { preprocess: number; encode: number; head: number; decode: number; total: number };
  /** `name@version`. */
  bundle: string;
  /** How many pictures were fused. */
  views: number;
}

/** How far a file of a bundle has come. */
export interface Progress {
  file: string;
  received: number;
  total: number;
  /** It lay in the browser's storage. */
  cached: boolean;
}

/** What is loaded, and what computes. */
export interface Status {
  bundle: BundleName | null;
  backend: "webgpu" | "wasm-threads" | "wasm";
  threads: number;
  /** A sentence for the person when the model could not be kept in the browser's storage, else `null`. */
  note: string | null;
}

/** What can go wrong; the message is a sentence that a person can act on. */
export type ErrorKind = "network" | "corrupt" | "unreadable" | "too-large" | "no-memory" | "storage";

/** Every promise of the engine is broken with one of these. */
export class EngineError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string) {
    super(message);
    this.name = "EngineError";
    this.kind = kind;
  }
}

/** The engine, as `createEngine` of `engine/index.ts` gives it. After an error it can be used as before. */
export interface Engine {
  /** Makes a bundle the one that answers, downloaded or from the browser's storage. */
  load(name: BundleName, onProgress: (progress: Progress) => void): Promise<Status>;
  /** Views of one place, fused. Blobs are decoded in the worker, upright by EXIF; bitmaps are taken over and closed. */
  locate(views: (Blob | ImageBitmap)[]): Promise<Answer>;
  /** What this origin offers, with the bytes of its files. */
  bundles(): Promise<{ name: BundleName; version: string; bytes: number; cached: boolean }[]>;
  /** Forgets all models in the browser's storage. */
  clear(): Promise<void>;
  /** Points of a guess by GeoGuessr's law, on the World map unless a scale in metres is given. */
  score(guess: Point, truth: Point, scaleM?: number): Promise<{ points: number; distanceKm: number }>;
  /** Ends the worker. */
  close(): void;
}
