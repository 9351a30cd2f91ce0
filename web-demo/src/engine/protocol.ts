// What goes between the page and the engine's worker.
import type { BundleName, Engine, ErrorKind, Point, Progress } from "./types";
import type { Backend } from "./onnx-sessions";

/** The first message to the worker. */
export interface Setup {
  /** Address of the folder with a folder for each bundle. */
  bundles: string;
  /** What to compute with instead of the best that there is. */
  backend: Backend | undefined;
}

export type Call =
  | { name: "load"; bundle: BundleName }
  | { name: "locate"; views: (Blob | ImageBitmap)[] }
  | { name: "bundles" }
  | { name: "clear" }
  | { name: "score"; guess: Point; truth: Point; scaleM: number | undefined };

/** What a call's promise brings. */
export type Result<Name extends Call["name"]> = Awaited<ReturnType<Engine[Name]>>;

export interface Request {
  id: number;
  call: Call;
}

export type Reply = { id: number } & (
  | { progress: Progress }
  | { result: unknown }
  /** A `spent` worker must be replaced before anything is tried again. */
  | { error: { kind: ErrorKind; message: string }; spent: boolean }
);
