// Messages between the page and the engine's worker.
import type {
  Backend,
  BundleName,
  Engine,
  ErrorKind,
  LatLng,
  Prediction,
  Prior,
  Progress,
  RejectedBackend,
} from "./types";

/** The first message to the worker. */
export interface Setup {
  /** URL of the folder that contains one folder per bundle. */
  bundlesUrl: string;
  /** Forces a backend instead of the fastest one available. */
  backend: Backend | undefined;
  /** Backends that have failed before. */
  rejected: RejectedBackend[];
}

export type Call =
  | { name: "load"; bundle: BundleName; mustStore: boolean }
  | { name: "locate"; views: (Blob | ImageBitmap)[]; prior: Prior | undefined; steps: boolean }
  | { name: "position"; photo: Blob }
  | { name: "bundles" }
  | { name: "clear" }
  | { name: "knownAnswer" }
  | { name: "score"; guess: LatLng; truth: LatLng; scaleM: number | undefined };

/** The value that the promise of a call resolves to. */
export type Result<Name extends Call["name"]> = Awaited<ReturnType<Engine[Name]>>;

/** A call, or the wish to stop an earlier one. */
export type Request = { id: number; call: Call } | { cancel: number };

/** A backend begins to open networks, or has finished. */
export interface Opening {
  opening: Backend | null;
}

/** A backend must not be used any more. `mustRestart`: only a new worker can do without it. */
export interface Rejection {
  rejected: RejectedBackend;
  mustRestart: boolean;
}

export type Reply = Opening | Rejection | CallReply;

export type CallReply = { id: number } & (
  | { progress: Progress }
  | { step: Prediction }
  | { result: unknown }
  /** `mustRestart`: the worker must be replaced before the next attempt. */
  | { error: { kind: ErrorKind; message: string }; mustRestart: boolean }
);
