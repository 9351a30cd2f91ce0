// The engine as the page sees it: calls become messages to a worker, so that they never block the page.
import type { Call, Reply, Request, Result, Setup } from "./protocol";
import type { Backend } from "./onnx-sessions";
import { cancelled } from "./download";
import { type Engine, EngineError, type LoadOptions, type Progress } from "./types";

export * from "./types";

/** A call whose reply has not arrived yet. */
interface PendingCall {
  resolve(result: unknown): void;
  reject(error: EngineError): void;
  onProgress: ((progress: Progress) => void) | undefined;
}

/** Creates an engine. `backend` forces a backend instead of the fastest one available. */
export function createEngine({ backend }: { backend?: Backend } = {}): Engine {
  const pending = new Map<number, PendingCall>();
  let worker: Worker | undefined;
  let lastId = 0;
  let isLoaded = false;

  function startWorker(): Worker {
    const newWorker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    newWorker.onmessage = ({ data }: MessageEvent<Reply>) => {
      const call = pending.get(data.id);
      if ("progress" in data) {
        call?.onProgress?.(data.progress);
        return;
      }
      pending.delete(data.id);
      if (!("error" in data)) {
        call?.resolve(data.result);
        return;
      }
      call?.reject(new EngineError(data.error.kind, data.error.message));
      if (data.mustRestart) terminate(data.error.message);
    };
    // Only fatal errors arrive here: the script did not load, or the worker ran out of memory.
    newWorker.onerror = (event) => {
      event.preventDefault();
      terminate("The engine stopped: check the connection, close other tabs and try again.");
    };
    const setup: Setup = { bundlesUrl: new URL("bundles/", document.baseURI).href, backend };
    newWorker.postMessage(setup);
    return newWorker;
  }

  function terminate(message: string) {
    worker?.terminate();
    worker = undefined;
    isLoaded = false;
    for (const call of pending.values()) call.reject(new EngineError("network", message));
    pending.clear();
  }

  function send<Name extends Call["name"]>(
    call: Extract<Call, { name: Name }>,
    { onProgress, signal }: Pick<LoadOptions, "onProgress" | "signal"> = {},
  ): Promise<Result<Name>> {
    if (signal?.aborted) return Promise.reject(cancelled());
    worker ??= startWorker();
    const id = ++lastId;
    const request: Request = { id, call };
    signal?.addEventListener("abort", () => pending.has(id) && worker?.postMessage({ cancel: id } satisfies Request));
    const transfer = "views" in call ? call.views.filter((view) => !(view instanceof Blob)) : [];
    return new Promise((resolve, reject) => {
      pending.set(id, { resolve: resolve as (result: unknown) => void, reject, onProgress });
      worker?.postMessage(request, transfer);
    });
  }

  return {
    get isLoaded() {
      return isLoaded;
    },
    async load(bundle, { mustStore = false, ...options } = {}) {
      const status = await send({ name: "load", bundle, mustStore }, options);
      isLoaded = true;
      return status;
    },
    locate: (views, { prior, signal } = {}) => send({ name: "locate", views, prior }, { signal }),
    position: (photo) => send({ name: "position", photo }),
    bundles: () => send({ name: "bundles" }),
    clear: () => send({ name: "clear" }),
    score: (guess, truth, scaleM) => send({ name: "score", guess, truth, scaleM }),
    close: () => terminate("The engine was closed."),
  };
}
