// The engine as the page sees it: calls become messages to a worker, so that they never block the page.
import type { Call, Reply, Request, Result, Setup } from "./protocol";
import type { Backend } from "./onnx-sessions";
import { type Engine, EngineError, type Progress } from "./types";

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
    for (const call of pending.values()) call.reject(new EngineError("network", message));
    pending.clear();
  }

  function send<Name extends Call["name"]>(
    call: Extract<Call, { name: Name }>,
    onProgress?: (progress: Progress) => void,
  ): Promise<Result<Name>> {
    worker ??= startWorker();
    const request: Request = { id: ++lastId, call };
    const transfer = "views" in call ? call.views.filter((view) => !(view instanceof Blob)) : [];
    return new Promise((resolve, reject) => {
      pending.set(request.id, { resolve: resolve as (result: unknown) => void, reject, onProgress });
      worker?.postMessage(request, transfer);
    });
  }

  return {
    load: (bundle, onProgress) => send({ name: "load", bundle }, onProgress),
    locate: (views, prior) => send({ name: "locate", views, prior }),
    position: (photo) => send({ name: "position", photo }),
    bundles: () => send({ name: "bundles" }),
    clear: () => send({ name: "clear" }),
    score: (guess, truth, scaleM) => send({ name: "score", guess, truth, scaleM }),
    close: () => terminate("The engine was closed."),
  };
}
