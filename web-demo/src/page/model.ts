// Owns the page's engine: loading state, download progress, and a queue of predictions.

import { createEngine } from "../engine/index";
import type { Prediction, BundleName, Engine, LatLng, Prior, Progress, Status } from "../engine/types";
import { getPreference, setPreference } from "./preferences";
import { errorMessage } from "./labels";

export type State =
  | { kind: "loading"; name: BundleName; received: number; total: number; cached: boolean }
  | { kind: "ready"; status: Status }
  | { kind: "failed"; message: string };

export class ModelController extends EventTarget {
  private readonly engine: Engine = createEngine();
  private loading: Promise<Status> | null = null;
  /** Incremented by each load; progress of earlier ones is discarded. */
  private generation = 0;
  private lastCall: Promise<unknown> = Promise.resolve();
  state: State = { kind: "loading", name: "pocket", received: 0, total: 0, cached: true };

  /** The bundle used last in this browser. */
  get chosen(): BundleName {
    return getPreference("landfall-bundle") === "desktop" ? "desktop" : "pocket";
  }

  /** Loads a bundle. Failures are reported in `state`; loading can be retried. */
  load(name: BundleName = this.chosen): Promise<Status> {
    const generation = ++this.generation;
    const files = new Map<string, Progress>();
    this.setState({ kind: "loading", name, received: 0, total: 0, cached: true });
    const loading = this.engine.load(name, (progress) => {
      files.set(progress.file, progress);
      const all = [...files.values()];
      const sum = (of: (p: Progress) => number) => all.reduce((total, p) => total + of(p), 0);
      const cached = all.every((p) => p.cached);
      if (generation === this.generation) {
        this.setState({ kind: "loading", name, received: sum((p) => p.received), total: sum((p) => p.total), cached });
      }
    });
    this.loading = loading;
    loading.then(
      (status) => {
        if (generation !== this.generation) return;
        setPreference("landfall-bundle", name);
        this.setState({ kind: "ready", status });
      },
      (error: unknown) => {
        if (generation !== this.generation) return;
        this.loading = null;
        // The next visit must not start with a bundle that cannot be loaded.
        setPreference("landfall-bundle", null);
        this.setState({ kind: "failed", message: errorMessage(error) });
      },
    );
    return loading;
  }

  /** Predicts the location of views of one place. Calls are queued; a failed load is retried. */
  locate(views: (Blob | ImageBitmap)[], prior: Prior = "photo"): Promise<Prediction> {
    const result = this.lastCall.then(async () => {
      await (this.loading ?? this.load());
      return this.engine.locate(views, prior);
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
