// The engine as the page sees it: calls become messages to a worker, so that they never block the page.
import { cancelled } from "./download";
import type { Call, CallReply, Reply, Request, Result, Setup } from "./protocol";
import {
  type Backend,
  type BundleName,
  type Engine,
  EngineError,
  type LoadOptions,
  type LocateOptions,
  type Prediction,
  type Progress,
  type RejectedBackend,
} from "./types";

export * from "./types";

/**
 * Maximum time in seconds for a backend to open a bundle. A thread that hangs blocks the worker, so only the page can
 * notice. (The worker has a limit of its own for the GPU, which does not block it.)
 */
const MAX_OPENING_S: Record<Backend, number> = { webgpu: Infinity, "wasm-threads": 120, wasm: 300 };

/** A call whose reply has not arrived yet. */
interface PendingCall {
  request: Request & { call: Call };
  resolve(result: unknown): void;
  reject(error: EngineError): void;
  onProgress: ((progress: Progress) => void) | undefined;
  onStep: ((prediction: Prediction) => void) | undefined;
}

export interface EngineOptions {
  /** Forces a backend instead of the fastest one available. */
  backend?: Backend;
  /** Backends that have failed before. */
  rejected?: RejectedBackend[];
  /** Called when a backend fails. */
  onReject?: (rejected: RejectedBackend) => void;
}

/** Creates an engine. */
export function createEngine({ backend, rejected = [], onReject }: EngineOptions = {}): Engine {
  const pending = new Map<number, PendingCall>();
  const allRejected = [...rejected];
  let worker: Worker | undefined;
  let lastId = 0;
  let loaded: BundleName | undefined;
  let watch: ReturnType<typeof setInterval> | undefined;

  function startWorker(): Worker {
    const newWorker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    newWorker.onmessage = ({ data }: MessageEvent<Reply>) => {
      if ("opening" in data) watchOpening(data.opening);
      else if ("rejected" in data) rejectBackend(data.rejected, data.mustRestart);
      else receive(data);
    };
    // Only fatal errors arrive here: the script did not load, or the worker ran out of memory.
    newWorker.onerror = (event) => {
      event.preventDefault();
      terminate("The engine stopped: check the connection, close other tabs and try again.");
    };
    const setup: Setup = { bundlesUrl: new URL("bundles/", document.baseURI).href, backend, rejected: allRejected };
    newWorker.postMessage(setup);
    return newWorker;
  }

  function receive(data: CallReply) {
    const call = pending.get(data.id);
    if ("progress" in data) {
      call?.onProgress?.(data.progress);
      return;
    }
    if ("step" in data) {
      call?.onStep?.(data.step);
      return;
    }
    pending.delete(data.id);
    if (!("error" in data)) {
      call?.resolve(data.result);
      return;
    }
    call?.reject(new EngineError(data.error.kind, data.error.message));
    if (data.mustRestart) terminate(data.error.message);
  }

  /** Counts the seconds while a backend opens a bundle; those in which the browser suspends the page do not count. */
  function watchOpening(opening: Backend | null) {
    clearInterval(watch);
    if (!opening) return;
    let seconds = 0;
    watch = setInterval(() => {
      if (++seconds < MAX_OPENING_S[opening]) return;
      if (opening === "wasm" || backend) terminate("The model took too long to open: close other tabs and try again.");
      else rejectBackend({ backend: opening, reason: "late" }, true);
    }, 1000);
  }

  function rejectBackend(rejected: RejectedBackend, mustRestart: boolean) {
    allRejected.push(rejected);
    onReject?.(rejected);
    if (mustRestart) restart();
  }

  /** Replaces the worker and repeats the calls that it has not answered. */
  function restart() {
    clearInterval(watch);
    worker?.terminate();
    worker = startWorker();
    // The model that has answered so far, unless it is being loaded anyway.
    const call = loaded && ({ name: "load", bundle: loaded, mustStore: false } as const);
    if (call) worker.postMessage({ id: ++lastId, call } satisfies Request);
    for (const [id, { request, reject }] of pending) {
      if (transferred(request.call).length === 0) {
        worker.postMessage(request);
        continue;
      }
      pending.delete(id);
      reject(new EngineError("no-memory", "The engine was restarted: take the picture again."));
    }
  }

  function terminate(message: string) {
    clearInterval(watch);
    worker?.terminate();
    worker = undefined;
    loaded = undefined;
    for (const { reject } of pending.values()) reject(new EngineError("network", message));
    pending.clear();
  }

  function send<Name extends Call["name"]>(
    call: Extract<Call, { name: Name }>,
    { onProgress, onStep, signal }: Pick<LoadOptions, "onProgress" | "signal"> & Pick<LocateOptions, "onStep"> = {},
  ): Promise<Result<Name>> {
    if (signal?.aborted) return Promise.reject(cancelled());
    worker ??= startWorker();
    const id = ++lastId;
    const request = { id, call };
    signal?.addEventListener("abort", () => pending.has(id) && worker?.postMessage({ cancel: id } satisfies Request));
    return new Promise((resolve, reject) => {
      pending.set(id, { request, resolve: resolve as (result: unknown) => void, reject, onProgress, onStep });
      worker?.postMessage(request, transferred(call));
    });
  }

  return {
    get isLoaded() {
      return loaded !== undefined;
    },
    async load(bundle, { mustStore = false, ...options } = {}) {
      const status = await send({ name: "load", bundle, mustStore }, options);
      loaded = bundle;
      return status;
    },
    locate: (views, { prior, ...options } = {}) =>
      send({ name: "locate", views, prior, steps: !!options.onStep }, options),
    position: (photo) => send({ name: "position", photo }),
    bundles: () => send({ name: "bundles" }),
    clear: () => send({ name: "clear" }),
    knownAnswer: () => send({ name: "knownAnswer" }),
    score: (guess, truth, scaleM) => send({ name: "score", guess, truth, scaleM }),
    close: () => terminate("The engine was closed."),
  };
}

/** The bitmaps of a call, which are moved to the worker. */
function transferred(call: Call): ImageBitmap[] {
  return "views" in call ? call.views.filter((view) => view instanceof ImageBitmap) : [];
}
