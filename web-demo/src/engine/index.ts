// The engine for the page: calls become messages to a worker, so that nothing here takes long.
import type { Call, Reply, Request, Result, Setup } from "./protocol";
import type { Backend } from "./onnx-sessions";
import { type Engine, EngineError, type Progress } from "./types";

export * from "./types";

/** A call that waits for its reply. */
interface Waiting {
  resolve(result: unknown): void;
  reject(error: EngineError): void;
  onProgress: ((progress: Progress) => void) | undefined;
}

/** The engine; `backend` asks for one instead of the best that there is. */
export function createEngine({ backend }: { backend?: Backend } = {}): Engine {
  const waiting = new Map<number, Waiting>();
  let worker: Worker | undefined;
  let calls = 0;

  function start(): Worker {
    const started = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    started.onmessage = ({ data }: MessageEvent<Reply>) => {
      const call = waiting.get(data.id);
      if ("progress" in data) {
        call?.onProgress?.(data.progress);
        return;
      }
      waiting.delete(data.id);
      if (!("error" in data)) {
        call?.resolve(data.result);
        return;
      }
      call?.reject(new EngineError(data.error.kind, data.error.message));
      if (data.spent) end(data.error.message);
    };
    // Only what the worker does not survive comes here: its script does not load, or it ran out of memory.
    started.onerror = (event) => {
      event.preventDefault();
      end("The engine stopped: check the connection, close other tabs, and try again.");
    };
    const setup: Setup = { bundles: new URL("bundles/", document.baseURI).href, backend };
    started.postMessage(setup);
    return started;
  }

  function end(why: string) {
    worker?.terminate();
    worker = undefined;
    for (const call of waiting.values()) call.reject(new EngineError("network", why));
    waiting.clear();
  }

  function ask<Name extends Call["name"]>(
    call: Extract<Call, { name: Name }>,
    onProgress?: (progress: Progress) => void,
  ): Promise<Result<Name>> {
    worker ??= start();
    const request: Request = { id: ++calls, call };
    const given = "views" in call ? call.views.filter((view) => !(view instanceof Blob)) : [];
    return new Promise((resolve, reject) => {
      waiting.set(request.id, { resolve: resolve as (result: unknown) => void, reject, onProgress });
      worker?.postMessage(request, given);
    });
  }

  return {
    load: (bundle, onProgress) => ask({ name: "load", bundle }, onProgress),
    locate: (views) => ask({ name: "locate", views }),
    bundles: () => ask({ name: "bundles" }),
    clear: () => ask({ name: "clear" }),
    score: (guess, truth, scaleM) => ask({ name: "score", guess, truth, scaleM }),
    close: () => end("The engine was closed."),
  };
}
