// The engine's worker. It processes one image at a time, also while another model is being downloaded.
import type { BundleFile } from "./manifest";
import { WasmModel, type BundleInfo, InvalidInputError } from "./model-wasm";
import type { Call, Reply, Request, Setup } from "./protocol";
import { knownAnswer } from "./known-answer";
import {
  CPU_RUNTIME,
  type Networks,
  OnnxSessions,
  RuntimeStartError,
  backends,
  rejectionReason,
  startRuntime,
} from "./onnx-sessions";
import { preprocess } from "./preprocess";
import { nativeSha256, nextTask, requireWebAssembly, within } from "./support";
import { cancelled } from "./download";
import { type FileOptions, ModelStore, type Report } from "./model-store";
import { OpenedBundle } from "./opened-bundle";
import { requireRoom } from "./storage-room";
import {
  type Backend,
  type BundleName,
  EngineError,
  type ErrorKind,
  type Prediction,
  type RejectedBackend,
  type Status,
} from "./types";

const NAMES: BundleName[] = ["pocket", "phone", "desktop"];
/** The World map's scale in metres, as in `model/src/score.rs`. */
const WORLD_SCALE_M = 14_916_862;

/** Maximum time in milliseconds for a GPU to load a bundle, which compiles its shaders. */
const GPU_LOAD_MS = 60_000;

/** Errors that another backend would have too. */
const NOT_OF_BACKEND = new Set<ErrorKind>(["network", "corrupt", "storage", "cancelled"]);

/** If encoding takes longer, in milliseconds, a prediction from the whole square is sent first. */
const SLOW_MS = 150;

/** A bundle that is ready for predictions. */
interface Loaded {
  model: WasmModel;
  info: BundleInfo;
  sessions: OnnxSessions;
}

class EngineWorker {
  readonly #setup: Setup;
  readonly #store: ModelStore;
  #module: Promise<ModelCode> | undefined;
  #loaded: Loaded | undefined;
  #last: Promise<unknown> = Promise.resolve();
  /** Predictions wait for it: after a restart they arrive before it is finished. */
  #firstLoad: Promise<unknown> | undefined;
  readonly #rejected: RejectedBackend[];

  constructor(setup: Setup) {
    this.#setup = setup;
    this.#rejected = [...setup.rejected];
    this.#store = new ModelStore(setup.bundlesUrl, async (bytes) => {
      return (await nativeSha256(bytes)) ?? (await this.#model()).sha256(bytes);
    });
  }

  async handle(
    call: Call,
    report: Report,
    onStep: (prediction: Prediction) => void,
    signal: AbortSignal,
  ): Promise<unknown> {
    switch (call.name) {
      case "load": {
        const loading = this.#load(call.bundle, { report, signal, mustStore: call.mustStore });
        this.#firstLoad ??= loading;
        return loading;
      }
      case "locate":
        if (!this.#loaded) await this.#firstLoad?.catch(() => undefined);
        return this.#serialize(() => this.#locate(call, call.steps ? onStep : undefined, signal));
      case "position": {
        const model = await this.#model();
        return model.position(new Uint8Array(await call.photo.arrayBuffer()));
      }
      case "bundles":
        return this.#bundles();
      case "clear":
        return this.#store.clear();
      case "knownAnswer":
        return this.#loaded?.sessions.answer;
      case "score": {
        const { guess, truth, scaleM = WORLD_SCALE_M } = call;
        return (await this.#model()).score(guess.lat, guess.lng, truth.lat, truth.lng, scaleM);
      }
    }
  }

  async #load(name: BundleName, options: FileOptions): Promise<Status> {
    requireWebAssembly();
    this.#store.note = null;
    const stored = await this.#store.manifest(name);
    if (!stored)
      throw new EngineError(
        "network",
        `The server of this page does not offer the model "${name}": choose another one.`,
      );
    const { manifest } = stored;
    const id = `${manifest.name}@${manifest.version}`;
    if (this.#loaded?.info.id !== id) {
      if (options.mustStore) await requireRoom((await this.#store.size(name, manifest)).missing);
      const file = (of: BundleFile) => this.#store.file(name, of, options);
      const { adapter, activations } = manifest.encoder;
      const { backend } = this.#setup;
      // "whole" is the former name of "exact-conv".
      const isExact = activations === "exact-conv" || activations === "whole";
      const candidates = backend ? [backend] : await this.#backends(!isExact);
      // In parallel with the downloads. Errors are reported when the sessions are created.
      const starting = startRuntime(candidates[0]!);
      starting.catch(() => undefined);
      const model = await this.#model().catch(async (error: unknown) => {
        await starting; // if this failed too, the next attempt needs a new worker
        throw error;
      });
      // Adding an adapter to a large network takes seconds, so the result is stored; without one it is not worth it.
      const { hash } = await this.#module!;
      const opened = hash ? await OpenedBundle.open(this.#setup.bundlesUrl, name, stored.bytes, hash) : undefined;
      const prepared = adapter && candidates[0] !== "webgpu" ? await opened?.network() : undefined;
      const [cells, head, adapterBytes, ...networks] = await Promise.all([
        file(manifest.cells),
        file(manifest.head),
        adapter && !prepared ? file(adapter) : undefined,
        prepared ?? file(manifest.encoder),
      ]);
      const info = parseBundle(() => model.open(stored.bytes, cells));
      // Opening a network uses it up; another backend reads it again.
      const encoder = async (on: Backend) => {
        const network = networks.pop() ?? (await file(manifest.encoder));
        if (network === prepared) return network;
        const added = adapter && (adapterBytes ?? (await file(adapter)));
        const result = parseBundle(() => model.encoder(network, added, on !== "webgpu"));
        if (adapter && on !== "webgpu") await opened?.storeNetwork(result);
        return result;
      };
      const networksOf = { encoder, isOptimized: !!adapter, head, info, known: knownAnswer(manifest) };
      await this.#serialize(async () => {
        if (options.signal?.aborted) throw cancelled();
        const sessions = await this.#sessions(candidates, networksOf, opened);
        await this.#loaded?.sessions.release();
        this.#loaded = { model, info, sessions };
      });
      await this.#store.deleteUnused().catch(() => undefined); // the next load retries
    }
    const { backend, threads } = this.#loaded!.sessions;
    return { bundle: name, backend, threads, rejected: this.#rejected, note: this.#store.note };
  }

  /** Runs tasks that use ONNX sessions one after another, since all sessions share the runtime's memory. */
  #serialize<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  #backends(supportsFloat: boolean): Promise<Backend[]> {
    const isRejected = (backend: Backend) => this.#rejected.some((rejected) => rejected.backend === backend);
    return backends(supportsFloat, isRejected, (rejected) => this.#reject(rejected, false));
  }

  #reject(rejected: RejectedBackend, mustRestart: boolean) {
    this.#rejected.push(rejected);
    workerScope.postMessage({ rejected, mustRestart });
  }

  /** Creates the sessions on the first backend that works. The page restarts this worker if one takes too long. */
  async #sessions(
    candidates: Backend[],
    networks: Networks,
    opened: OpenedBundle | undefined,
  ): Promise<OnnxSessions> {
    for (;;) {
      const backend = candidates[0]!;
      const isLast = candidates.length === 1;
      try {
        await startRuntime(backend);
        workerScope.postMessage({ opening: backend });
        // The driver of a GPU may change at any time.
        const isLasting = backend !== "webgpu";
        const isVerified = isLasting && !!(await opened?.isVerified(backend, CPU_RUNTIME));
        const loading = OnnxSessions.load(backend, networks, isVerified, !isLast);
        const sessions = await (backend === "webgpu" && !isLast ? within(GPU_LOAD_MS, loading) : loading);
        if (isLasting && !isVerified) await opened?.storeVerified(backend, CPU_RUNTIME);
        return sessions;
      } catch (error) {
        if (isLast || (error instanceof EngineError && NOT_OF_BACKEND.has(error.kind))) throw error;
        // Threads are part of the runtime, which cannot be started again: only a new worker has none.
        const mustRestart = backend === "wasm-threads";
        this.#reject({ backend, reason: rejectionReason(error) }, mustRestart);
        if (mustRestart) await new Promise<never>(() => undefined);
        candidates.shift();
      } finally {
        workerScope.postMessage({ opening: null });
      }
    }
  }

  async #locate(
    { views, prior }: Call & { name: "locate" },
    onStep: ((prediction: Prediction) => void) | undefined,
    signal: AbortSignal,
  ): Promise<Prediction> {
    const ms = { preprocess: 0, encode: 0, head: 0, decode: 0, total: 0 };
    const start = performance.now();
    let last = start;
    const record = (part: Exclude<keyof typeof ms, "total">) => {
      const now = performance.now();
      ms[part] += now - last;
      last = now;
      ms.total = now - start;
    };
    if (!this.#loaded) throw new EngineError("network", "No model is loaded yet: load one first.");
    if (views.length === 0) throw new EngineError("unreadable", "There is no image: take or choose one.");
    const { model, info, sessions } = this.#loaded;
    const warnings: string[] = [];
    const [area, length] = [3 * info.size ** 2, info.squares * info.dim];
    const images: { squares: Float32Array; outputs: Float32Array }[] = [];
    const encode = async ({ squares, outputs }: (typeof images)[number], square: number) => {
      if (ms.encode > SLOW_MS) await nextTask(); // lets a message arrive that stops this call
      if (signal.aborted) throw cancelled();
      outputs.set(await sessions.encode(squares.subarray(square * area, (square + 1) * area)), square * info.dim);
      record("encode");
    };
    const predict = async (): Promise<Prediction> => {
      const logits = new Float32Array(views.length * info.cells);
      for (const [row, { outputs }] of images.entries())
        logits.set(await sessions.logits(model.embedding(outputs)), row * info.cells);
      record("head");
      const prediction = model.predict(logits, prior);
      record("decode");
      return { ...prediction, ms: { ...ms }, warnings };
    };
    for (const view of views) {
      const { squares, warning } = await preprocess(model, view);
      if (warning) warnings.push(warning);
      record("preprocess");
      const image = { squares, outputs: new Float32Array(length) };
      images.push(image);
      await encode(image, 0);
    }
    if (onStep && info.squares > 1 && ms.encode > SLOW_MS) {
      // The head needs all squares: the whole one stands in for the details.
      for (const { outputs } of images)
        for (let square = 1; square < info.squares; square++) outputs.copyWithin(square * info.dim, 0, info.dim);
      onStep(await predict());
    }
    for (const image of images) for (let square = 1; square < info.squares; square++) await encode(image, square);
    return predict();
  }

  async #bundles() {
    const offered = [];
    for (const name of NAMES) {
      const manifest = (await this.#store.manifest(name))?.manifest;
      if (!manifest) continue;
      const { bytes, cached } = await this.#store.size(name, manifest);
      offered.push({ name, version: manifest.version, bytes, cached });
    }
    return offered;
  }

  /** A new instance for each use, since a use may grow its memory or open another bundle. */
  async #model(): Promise<WasmModel> {
    this.#module ??= compileWasm(new URL("./landfall.wasm", import.meta.url));
    try {
      return new WasmModel((await this.#module).module);
    } catch (error) {
      this.#module = undefined; // the next call tries again
      throw error;
    }
  }
}

/** The model code, and the SHA-256 of its file if the browser computes hashes. */
interface ModelCode {
  module: WebAssembly.Module;
  hash: string | undefined;
}

async function compileWasm(address: URL): Promise<ModelCode> {
  const bytes = await fetch(address).then(
    async (response) => (response.ok ? new Uint8Array(await response.arrayBuffer()) : undefined),
    () => undefined,
  );
  if (!bytes)
    throw new EngineError("network", "The model code could not be downloaded: check the connection and try again.");
  const module = await WebAssembly.compile(bytes).catch(() => {
    const message =
      "Another file arrived in place of the model code: check the connection (some networks ask you to log in first) " +
      "and try again.";
    throw new EngineError("network", message);
  });
  return { module, hash: await nativeSha256(bytes) };
}

/** Parses files of a bundle. Their hashes are correct, so an error means an unsupported format. */
function parseBundle<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    const reason = `This version of the page does not support the model (${error.message})`;
    throw new EngineError("corrupt", `${reason}: reload the page to update it.`);
  }
}

const workerScope = self as unknown as {
  postMessage(message: Reply): void;
  onmessage: ((event: MessageEvent<Setup | Request>) => void) | null;
};
let worker: EngineWorker | undefined;
/** The calls that have not been answered yet. */
const running = new Map<number, AbortController>();

workerScope.onmessage = async ({ data }) => {
  if ("bundlesUrl" in data) {
    worker = new EngineWorker(data);
    return;
  }
  if ("cancel" in data) {
    running.get(data.cancel)?.abort();
    return;
  }
  const { id, call } = data;
  const controller = new AbortController();
  running.set(id, controller);
  try {
    const report: Report = (progress) => workerScope.postMessage({ id, progress });
    const onStep = (step: Prediction) => workerScope.postMessage({ id, step });
    const result = await worker?.handle(call, report, onStep, controller.signal);
    workerScope.postMessage({ id, result });
  } catch (error) {
    controller.abort(); // downloads of other files of the same bundle
    workerScope.postMessage({ id, error: toErrorReply(error), mustRestart: error instanceof RuntimeStartError });
  } finally {
    running.delete(id);
    if (call.name === "locate") call.views.forEach((view) => view instanceof Blob || view.close());
  }
};

function toErrorReply(error: unknown): { kind: EngineError["kind"]; message: string } {
  if (error instanceof EngineError) return { kind: error.kind, message: error.message };
  const reason = error instanceof Error ? error.message : String(error);
  return error instanceof RangeError || /memory/i.test(reason)
    ? { kind: "no-memory", message: "There is not enough memory for this: close other tabs or use a smaller image." }
    : {
        kind: "unreadable",
        message: `An unexpected error occurred (${reason}): try another image or reload the page.`,
      };
}
