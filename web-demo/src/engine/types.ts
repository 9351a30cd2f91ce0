// The interface of the engine. It runs in a worker and sends nothing to a server.

/** Names of the bundles. Every build includes `pocket`; the larger ones are optional. */
export type BundleName = "pocket" | "phone" | "desktop";

/** Coordinates in degrees. */
export interface LatLng {
  lat: number;
  lng: number;
}

/** The prior over the cells: where people take photographs, where rounds of a game lie, or all cells alike. */
export type Prior = "photo" | "game" | "flat";

/** A cell (at its mean location) and its probability. */
export interface CellProbability extends LatLng {
  p: number;
  /** S2 token. */
  token: string;
  /** The four corners as `[lng, lat]`, not closed. Longitudes continue across the date line, beyond ±180. */
  ring: [number, number][];
  /** S2 level. */
  level: number;
}

/** The prediction for one place. JSON as in `model/src/wasm.rs`, plus `ms` and `warnings`. */
export interface Prediction extends LatLng {
  /** Description of the place, such as `near Lyon, France`. */
  place: string;
  /** The area to name instead if the prediction is doubtful, such as `in Asia`; else `null`. */
  area: string | null;
  /** ISO 3166-1 alpha-2 code of the pin's country; `null` at sea. */
  country: string | null;
  /** Expected score of the pin on the World map, 0 to 5,000. */
  expectedScore: number;
  /** Radii around the pin that contain 50 % and 90 % of the probability. */
  radiusKm: { p50: number; p90: number };
  /** The five most likely countries, in decreasing order. */
  countries: { iso2: string; name: string; p: number }[];
  /** All cells with a probability of at least 1e-4, in decreasing order. */
  cells: CellProbability[];
  /** The 50 % credible region, as indices into `cells`. */
  region50: number[];
  /** The 90 % credible region, as indices into `cells`. */
  region90: number[];
  /**
   * Timings in milliseconds. `preprocess` is decoding, resizing and normalising; `decode` is everything after the
   * head.
   */
  ms: { preprocess: number; encode: number; head: number; decode: number; total: number };
  /** `name@version`. */
  bundle: string;
  /** Number of fused views. */
  views: number;
  /** What is wrong with the image files, such as missing rows. */
  warnings: string[];
}

/** Download progress of one file of a bundle, in bytes. */
export interface Progress {
  file: string;
  received: number;
  total: number;
  /** The file was in the browser's storage. */
  cached: boolean;
}

/** The GPU, several threads of the CPU, or one. */
export type Backend = "webgpu" | "wasm-threads" | "wasm";

/** A backend that is not used in this browser. */
export interface RejectedBackend {
  backend: Backend;
  /** `wrong`: its results are wrong; `late`: it did not start in time; `failed`: an error occurred. */
  reason: "wrong" | "slow" | "late" | "failed";
}

/** The loaded bundle and its backend. */
export interface Status {
  bundle: BundleName | null;
  backend: Backend;
  threads: number;
  rejected: RejectedBackend[];
  /** A message for the user if the model could not be stored in the browser, else `null`. */
  note: string | null;
}

/** `unsupported`: the browser lacks something that is needed. `cancelled`: the caller stopped the call. */
export type ErrorKind =
  | "network"
  | "corrupt"
  | "unreadable"
  | "too-large"
  | "no-memory"
  | "storage"
  | "unsupported"
  | "cancelled";

/** The promises of the engine are rejected with this error. Its message is written for the user. */
export class EngineError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string) {
    super(message);
    this.name = "EngineError";
    this.kind = kind;
  }
}

export interface LoadOptions {
  onProgress?: (progress: Progress) => void;
  /**
   * Whether it is an error if the bundle cannot be stored, so that each visit would download it again. Nothing is
   * downloaded if the browser says in advance that there is no room.
   */
  mustStore?: boolean;
  /** Stops the download; what has arrived is kept. */
  signal?: AbortSignal | undefined;
}

export interface LocateOptions {
  /** `photo` unless given. */
  prior?: Prior;
  /**
   * Called with a prediction from the whole square of each image, if the detail squares take long enough to notice. It
   * is less certain than the final one.
   */
  onStep?: (prediction: Prediction) => void;
  /** Stops the call between two squares of an image. */
  signal?: AbortSignal | undefined;
}

/** The engine, created by `createEngine`. It stays usable after an error. */
export interface Engine {
  /** Whether a bundle is loaded. */
  readonly isLoaded: boolean;
  /** Loads a bundle from the browser's storage or the server. It replaces the current one, which answers meanwhile. */
  load(name: BundleName, options?: LoadOptions): Promise<Status>;
  /**
   * Predicts the location of one or more views of one place. The EXIF orientation of blobs is applied; bitmaps are
   * closed.
   */
  locate(views: (Blob | ImageBitmap)[], options?: LocateOptions): Promise<Prediction>;
  /** The position in the metadata of a photo, which needs no loaded bundle; `null` if it has none that can be used. */
  position(photo: Blob): Promise<LatLng | null>;
  /** The bundles that this origin offers; `bytes` is the size of all files. */
  bundles(): Promise<{ name: BundleName; version: string; bytes: number; cached: boolean }[]>;
  /** Deletes all models from the browser's storage. */
  clear(): Promise<void>;
  /** Score of a guess by GeoGuessr's formula, on the World map unless a scale in metres is given. */
  score(guess: LatLng, truth: LatLng, scaleM?: number): Promise<{ points: number; distanceKm: number }>;
  /** What the loaded bundle computes for the known input (`known-answer.ts`), for the test that writes known answers. */
  knownAnswer(): Promise<{ embedding: Float32Array; logits: Float32Array }>;
  /** Terminates the worker. */
  close(): void;
}
