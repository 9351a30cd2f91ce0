// The page's one engine: what is loaded, how far a download has come, and answers one after another.

import { createEngine } from "../engine/index";
import type { Prediction, BundleName, Engine, LatLng, Progress, Status } from "../engine/types";
import { recall, remember } from "./preferences";
import { sentence } from "./labels";

export type State =
  | { kind: "loading"; name: BundleName; received: number; total: number; cached: boolean }
  | { kind: "ready"; status: Status }
  | { kind: "failed"; message: string };

export class Model extends EventTarget {
  private readonly engine: Engine = createEngine();
  private loading: Promise<Status> | null = null;
  /** Counts the loads; what an older one tells is dropped. */
  private turn = 0;
  private before: Promise<unknown> = Promise.resolve();
  state: State = { kind: "loading", name: "pocket", received: 0, total: 0, cached: true };

  /** The bundle that this browser used last. */
  get chosen(): BundleName {
    return recall("landfall-bundle") === "desktop" ? "desktop" : "pocket";
  }

  /** Makes a bundle ready; a failed load is told in `state` and can be tried again. */
  load(name: BundleName = this.chosen): Promise<Status> {
    const turn = ++this.turn;
    const files = new Map<string, Progress>();
    this.become({ kind: "loading", name, received: 0, total: 0, cached: true });
    const loading = this.engine.load(name, (progress) => {
      files.set(progress.file, progress);
      const all = [...files.values()];
      const sum = (of: (p: Progress) => number) => all.reduce((total, p) => total + of(p), 0);
      const cached = all.every((p) => p.cached);
      if (turn === this.turn) {
        this.become({ kind: "loading", name, received: sum((p) => p.received), total: sum((p) => p.total), cached });
      }
    });
    this.loading = loading;
    loading.then(
      (status) => {
        if (turn !== this.turn) return;
        remember("landfall-bundle", name);
        this.become({ kind: "ready", status });
      },
      (error: unknown) => {
        if (turn !== this.turn) return;
        this.loading = null;
        // What cannot be had must not stand in the way of what can.
        remember("landfall-bundle", null);
        this.become({ kind: "failed", message: sentence(error) });
      },
    );
    return loading;
  }

  /** Where the views of one place were taken. One question after another; a model that failed to load is tried again. */
  locate(views: (Blob | ImageBitmap)[]): Promise<Prediction> {
    const asked = this.before.then(async () => {
      await (this.loading ?? this.load());
      return this.engine.locate(views);
    });
    this.before = asked.catch(() => undefined);
    return asked;
  }

  score(guess: LatLng, truth: LatLng): Promise<{ points: number; distanceKm: number }> {
    return this.engine.score(guess, truth);
  }

  bundles(): ReturnType<Engine["bundles"]> {
    return this.engine.bundles();
  }

  /** Empties the storage of models; what is loaded goes on working until the page is closed. */
  clear(): Promise<void> {
    return this.engine.clear();
  }

  private become(state: State): void {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }
}
