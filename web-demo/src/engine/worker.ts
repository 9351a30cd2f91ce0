// The engine's worker. It processes one image at a time, also while another model is being downloaded.
import type { BundleFile } from "./manifest";
import { WasmModel, type BundleInfo, InvalidInputError } from "./model-wasm";
import type { Call, Reply, Request, Setup } from "./protocol";
import { type Backend, OnnxSessions, RuntimeStartError, backends, startRuntime } from "./onnx-sessions";
import { preprocess } from "./preprocess";
import { requireWebAssembly, within } from "./support";
import { cancelled } from "./download";
import { type FileOptions, ModelStore, type Report } from "./model-store";
import { type Prediction, type BundleName, EngineError, type Prior, type Status } from "./types";

const NAMES: BundleName[] = ["pocket", "phone", "desktop"];
/** The World map's scale in metres, as in `model/src/score.rs`. */
const WORLD_SCALE_M = 14_916_862;

/** Maximum time in milliseconds for a GPU to load a bundle, which compiles its shaders. */
const GPU_LOAD_MS = 60_000;

/** A bundle that is ready for predictions. */
interface Loaded {
  model: WasmModel;
  info: BundleInfo;
  sessions: OnnxSessions;
}

class EngineWorker {
  readonly #setup: Setup;
  readonly #store: ModelStore;
  #module: Promise<WebAssembly.Module> | undefined;
  #loaded: Loaded | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(setup: Setup) {
    this.#setup = setup;
    this.#store = new ModelStore(setup.bundlesUrl, async (bytes) => {
      if (!globalThis.crypto.subtle) return (await this.#model()).sha256(bytes); // an insecure address
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
      return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    });
  }

  async handle(call: Call, report: Report, signal: AbortSignal): Promise<unknown> {
    switch (call.name) {
      case "load":
        return this.#load(call.bundle, { report, signal, mustStore: call.mustStore });
      case "locate":
        return this.#serialize(() => this.#locate(call.views, call.prior, signal));
      case "position": {
        const model = await this.#model();
        return model.position(new Uint8Array(await call.photo.arrayBuffer()));
      }
      case "bundles":
        return this.#bundles();
      case "clear":
        return this.#store.clear();
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
      const file = (of: BundleFile) => this.#store.file(name, of, options);
      const { adapter, activations } = manifest.encoder;
      const { backend } = this.#setup;
      // "whole" is the former name of "exact-conv".
      const isExact = activations === "exact-conv" || activations === "whole";
      const candidates = backend ? [backend] : await backends(!isExact);
      // In parallel with the downloads. Errors are reported when the sessions are created.
      const starting = startRuntime(candidates[0]!);
      starting.catch(() => undefined);
      const model = await this.#model().catch(async (error: unknown) => {
        await starting; // if this failed too, the next attempt needs a new worker
        throw error;
      });
      const [cells, head, adapterBytes, ...networks] = await Promise.all([
        file(manifest.cells),
        file(manifest.head),
        adapter && file(adapter),
        file(manifest.encoder),
      ]);
      const info = parseBundle(() => model.open(stored.bytes, cells));
      // The network is dropped once it is prepared for a backend, since two of them may not fit into a phone's memory.
      const encoder = async (on: Backend) => {
        const network = networks.pop() ?? (await file(manifest.encoder));
        return parseBundle(() => model.encoder(network, adapterBytes, on !== "webgpu"));
      };
      await this.#serialize(async () => {
        if (options.signal?.aborted) throw cancelled();
        const sessions = await this.#sessions(candidates, encoder, head, info);
        await this.#loaded?.sessions.release();
        this.#loaded = { model, info, sessions };
      });
      await this.#store.deleteUnused().catch(() => undefined); // the next load retries
    }
    const { backend, threads } = this.#loaded!.sessions;
    return { bundle: name, backend, threads, note: this.#store.note };
  }

  /** Runs tasks that use ONNX sessions one after another, since all sessions share the runtime's memory. */
  #serialize<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** Creates the sessions on the first backend that works. */
  async #sessions(
    candidates: Backend[],
    encoder: (on: Backend) => Promise<Uint8Array>,
    head: Uint8Array,
    info: BundleInfo,
  ): Promise<OnnxSessions> {
    for (;;) {
      const [backend] = candidates;
      const rejectSlowGpu = candidates.length > 1;
      try {
        const loading = OnnxSessions.load(backend!, () => encoder(backend!), head, info, rejectSlowGpu);
        return await (backend === "webgpu" && rejectSlowGpu ? within(GPU_LOAD_MS, loading) : loading);
      } catch (error) {
        if (!rejectSlowGpu) throw error;
        candidates.shift();
      }
    }
  }

  async #locate(views: (Blob | ImageBitmap)[], prior: Prior | undefined, signal: AbortSignal): Promise<Prediction> {
    const ms = { preprocess: 0, encode: 0, head: 0, decode: 0, total: 0 };
    const start = performance.now();
    let last = start;
    const record = (part: keyof typeof ms) => {
      const now = performance.now();
      ms[part] += now - last;
      last = now;
    };
    if (!this.#loaded) throw new EngineError("network", "No model is loaded yet: load one first.");
    if (views.length === 0) throw new EngineError("unreadable", "There is no image: take or choose one.");
    const { model, info, sessions } = this.#loaded;
    const logits = new Float32Array(views.length * info.cells);
    const warnings: string[] = [];
    for (const [row, view] of views.entries()) {
      const { squares, warning } = await preprocess(model, view);
      if (warning) warnings.push(warning);
      record("preprocess");
      const outputs = new Float32Array(info.squares * info.dim);
      const area = 3 * info.size ** 2;
      for (let square = 0; square < info.squares; square++) {
        if (signal.aborted) throw cancelled();
        outputs.set(await sessions.encode(squares.subarray(square * area, (square + 1) * area)), square * info.dim);
      }
      record("encode");
      logits.set(await sessions.logits(model.embedding(outputs)), row * info.cells);
      record("head");
    }
    const prediction = model.predict(logits, prior);
    record("decode");
    ms.total = last - start;
    return { ...prediction, ms, warnings };
  }

  async #bundles() {
    const offered = [];
    for (const name of NAMES) {
      const manifest = (await this.#store.manifest(name))?.manifest;
      if (manifest) offered.push({ name, version: manifest.version, ...(await this.#store.size(name, manifest)) });
    }
    return offered;
  }

  /** A new instance for each use, since a use may grow its memory or open another bundle. */
  async #model(): Promise<WasmModel> {
    this.#module ??= compileWasm(new URL("./landfall.wasm", import.meta.url));
    try {
      return new WasmModel(await this.#module);
    } catch (error) {
      this.#module = undefined; // the next call tries again
      throw error;
    }
  }
}

async function compileWasm(address: URL): Promise<WebAssembly.Module> {
  const bytes = await fetch(address).then(
    (response) => (response.ok ? response.arrayBuffer() : undefined),
    () => undefined,
  );
  if (!bytes)
    throw new EngineError("network", "The model code could not be downloaded: check the connection and try again.");
  return WebAssembly.compile(bytes).catch(() => {
    const message =
      "Another file arrived in place of the model code: check the connection (some networks ask you to log in first) " +
      "and try again.";
    throw new EngineError("network", message);
  });
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
    const result = await worker?.handle(call, report, controller.signal);
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
