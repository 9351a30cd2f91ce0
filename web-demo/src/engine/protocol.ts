// Messages between the page and the engine's worker.
import type { BundleName, Engine, ErrorKind, LatLng, Prior, Progress } from "./types";
import type { Backend } from "./onnx-sessions";

/** The first message to the worker. */
export interface Setup {
  /** URL of the folder that contains one folder per bundle. */
  bundlesUrl: string;
  /** Forces a backend instead of the fastest one available. */
  backend: Backend | undefined;
}

export type Call =
  | { name: "load"; bundle: BundleName; mustStore: boolean }
  | { name: "locate"; views: (Blob | ImageBitmap)[]; prior: Prior | undefined }
  | { name: "position"; photo: Blob }
  | { name: "bundles" }
  | { name: "clear" }
  | { name: "score"; guess: LatLng; truth: LatLng; scaleM: number | undefined };

/** The value that the promise of a call resolves to. */
export type Result<Name extends Call["name"]> = Awaited<ReturnType<Engine[Name]>>;

/** A call, or the wish to stop an earlier one. */
export type Request = { id: number; call: Call } | { cancel: number };

export type Reply = { id: number } & (
  | { progress: Progress }
  | { result: unknown }
  /** `mustRestart`: the worker must be replaced before the next attempt. */
  | { error: { kind: ErrorKind; message: string }; mustRestart: boolean }
);
