// Owns the page's engine: loading state, download progress, and a queue of predictions.

import { createEngine } from "../engine/index";
import {
  EngineError,
  type Prediction,
  type BundleName,
  type Engine,
  type LatLng,
  type LoadOptions,
  type LocateOptions,
  type Progress,
  type Status,
} from "../engine/types";
import { errorMessage } from "./labels";
import { rejectedBackends, rememberRejection } from "./rejected-backends";

export type State =
  | { kind: "loading"; received: number; total: number; cached: boolean }
  | { kind: "ready"; status: Status }
  | { kind: "failed"; message: string };

/**
 * Dispatches `change` when `state` changes, `answer` after each prediction, and `upgrade` when a larger model has
 * replaced the one that answered so far.
 */
export class ModelController extends EventTarget {
  private readonly engine: Engine = createEngine({ rejected: rejectedBackends(), onReject: rememberRejection });
  private loading: Promise<Status> | null = null;
  /** Incremented by each load; progress of earlier ones is discarded. */
  private generation = 0;
  private lastCall: Promise<unknown> = Promise.resolve();
  state: State = { kind: "loading", received: 0, total: 0, cached: true };
  /** Whether anything has been predicted since the page was opened. */
  hasAnswered = false;

  /** Loads the small bundle, which every host has. Failures are reported in `state`; loading can be retried. */
  load(): Promise<Status> {
    const generation = ++this.generation;
    this.setState({ kind: "loading", received: 0, total: 0, cached: true });
    const onProgress = sumOfFiles((received, total, cached) => {
      if (generation === this.generation) this.setState({ kind: "loading", received, total, cached });
    });
    const loading = this.engine.load("pocket", { onProgress });
    this.loading = loading;
    loading.then(
      (status) => {
        if (generation === this.generation) this.setState({ kind: "ready", status });
      },
      (error: unknown) => {
        if (generation !== this.generation) return;
        this.loading = null;
        this.setState({ kind: "failed", message: errorMessage(error) });
      },
    );
    return loading;
  }

  /** Loads a larger bundle, while the current one goes on to answer. It is the current one if this fails. */
  async loadLarger(
    name: BundleName,
    onReceived: (received: number, total: number, cached: boolean) => void,
    options: LoadOptions,
  ): Promise<void> {
    const { generation } = this;
    try {
      const loading = this.engine.load(name, { ...options, onProgress: sumOfFiles(onReceived) });
      const status = await loading;
      if (generation !== this.generation) return;
      this.loading = loading;
      this.setState({ kind: "ready", status });
      this.dispatchEvent(new Event("upgrade"));
    } catch (error) {
      if (this.engine.isLoaded || this.state.kind !== "ready") throw error;
      // The worker has stopped, for want of memory most likely, and the small model with it.
      void this.load().catch(() => undefined);
      throw new EngineError("no-memory", errorMessage(error));
    }
  }

  /** Predicts the location of views of one place. Calls are queued; a failed load is retried. */
  locate(views: (Blob | ImageBitmap)[], options: LocateOptions = {}): Promise<Prediction> {
    const result = this.lastCall.then(async () => {
      await (this.loading ?? this.load());
      if (options.signal?.aborted) throw new EngineError("cancelled", "A newer picture has replaced this one.");
      const prediction = await this.engine.locate(views, options);
      this.hasAnswered = true;
      this.dispatchEvent(new Event("answer"));
      return prediction;
    });
    this.lastCall = result.catch(() => undefined);
    return result;
  }

  position(photo: Blob): Promise<LatLng | null> {
    return this.engine.position(photo);
  }

  score(guess: LatLng, truth: LatLng): Promise<{ points: number; distanceKm: number }> {
    return this.engine.score(guess, truth);
  }

  bundles(): ReturnType<Engine["bundles"]> {
    return this.engine.bundles();
  }

  /** Deletes the stored models. The loaded one keeps working until the page is closed. */
  clear(): Promise<void> {
    return this.engine.clear();
  }

  private setState(state: State): void {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }
}

/** Adds up the progress of the files of a bundle. */
function sumOfFiles(
  show: (received: number, total: number, cached: boolean) => void,
): (progress: Progress) => void {
  const files = new Map<string, Progress>();
  return (progress) => {
    files.set(progress.file, progress);
    const all = [...files.values()];
    const sum = (of: (p: Progress) => number) => all.reduce((total, p) => total + of(p), 0);
    show(
      sum((p) => p.received),
      sum((p) => p.total),
      all.every((p) => p.cached),
    );
  };
}
