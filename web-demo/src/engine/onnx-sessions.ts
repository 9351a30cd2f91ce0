// The encoder and head of a bundle in ONNX Runtime Web: on the GPU if there is one, else in WebAssembly.
import type * as Ort from "onnxruntime-web/wasm";
import plainGlue from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import plainWasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import gpuGlue from "onnxruntime-web/ort-wasm-simd-threaded.jspi.mjs?url";
import gpuWasm from "onnxruntime-web/ort-wasm-simd-threaded.jspi.wasm?url";
import type { BundleInfo } from "./model-wasm";
import { isAsKnown, type KnownAnswer, knownInput, repeated, sampled } from "./known-answer";
import { free, fromHex, isDownloaded, LateError, trySharedThreads, within } from "./support";
import { type Backend, EngineError, type RejectedBackend } from "./types";

/** More threads hardly help for networks of this size. */
const MAX_THREADS = 4;

/**
 * A GPU that takes longer for a square is not used. With the desktop bundle, WebAssembly needs about as long on one
 * core of an ordinary computer.
 */
const MAX_GPU_ENCODE_MS = 1000;
/** Maximum time in milliseconds for the browser to name its GPU. */
const GPU_ANSWER_MS = 3000;

/** Maximum time in milliseconds for threads to start, once the runtime is downloaded. */
const THREADS_START_MS = 20_000;

export type Reject = (rejected: RejectedBackend) => void;

/**
 * The backends available in this browser, fastest first, without those rejected before. WebGPU has no int8 products, so
 * it needs an encoder that can be computed in floating point.
 */
export async function backends(
  supportsFloat: boolean,
  isRejected: (backend: Backend) => boolean,
  reject: Reject,
): Promise<Backend[]> {
  const found: Backend[] = ["wasm"];
  if (!isRejected("wasm-threads") && (await hasThreads(reject))) found.unshift("wasm-threads");
  if (supportsFloat && !isRejected("webgpu") && (await hasGpu())) found.unshift("webgpu");
  return found;
}

async function hasThreads(reject: Reject): Promise<boolean> {
  if (spareCores() <= 1) return false;
  const outcome = await trySharedThreads();
  if (outcome === "late") reject({ backend: "wasm-threads", reason: "late" });
  return outcome === "yes";
}

/**
 * The WebGPU runtime suspends WebAssembly while the GPU is busy, which not every browser supports. A fallback adapter
 * is emulated on the CPU and slower than WebAssembly.
 */
async function hasGpu(): Promise<boolean> {
  if (!("Suspending" in WebAssembly)) return false;
  const gpu = (navigator as { gpu?: { requestAdapter(): Promise<{ info?: { isFallbackAdapter?: boolean } } | null> } })
    .gpu;
  const adapter = gpu && (await within(GPU_ANSWER_MS, gpu.requestAdapter()).catch(() => null));
  return !!adapter && !adapter.info?.isFallbackAdapter;
}

/** Number of threads to use. One core is left for the page and other programs, since waiting threads spin. */
function spareCores(): number {
  return Math.min(MAX_THREADS, navigator.hardwareConcurrency - 1);
}

async function importRuntime(backend: Backend): Promise<typeof Ort> {
  const ort: typeof Ort = await (backend === "webgpu"
    ? import("onnxruntime-web/jspi")
    : import("onnxruntime-web/wasm"));
  const [mjs, wasm] = backend === "webgpu" ? [gpuGlue, gpuWasm] : [plainGlue, plainWasm];
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = { mjs: new URL(mjs, import.meta.url).href, wasm: new URL(wasm, import.meta.url).href };
  ort.env.wasm.numThreads = backend === "wasm-threads" ? Math.max(2, spareCores()) : 1;
  return ort;
}

/** An ONNX model of one Identity node, in hexadecimal: it starts a runtime before the real models are downloaded. */
const IDENTITY_MODEL =
  "08083a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801620f0a0179120a0a08080112040a0208014202100d";
const runtimes = new Map<typeof plainWasm, Promise<void>>();

/**
 * The runtime could not be downloaded or started. It can be started only once per worker, so a retry needs a new
 * worker.
 */
export class RuntimeStartError extends EngineError {}

/** The networks compute something else than they should. */
export class WrongResultError extends EngineError {
  constructor() {
    super("unsupported", "This browser computes the model wrongly: update it, or use another one.");
  }
}

/** The GPU computes correctly, but more slowly than the CPU. */
export class SlowError extends Error {}

/** Downloads and starts a backend's runtime unless it has been started already. */
export function startRuntime(backend: Backend): Promise<void> {
  const file = backend === "webgpu" ? gpuWasm : plainWasm;
  let starting = runtimes.get(file);
  if (!starting) {
    starting = initRuntime(backend);
    if (backend === "wasm-threads") starting = limited(starting, file);
    runtimes.set(file, starting);
  }
  return starting;
}

/** An error if threads take too long to start. The time to download the runtime does not count. */
async function limited(starting: Promise<void>, file: string): Promise<void> {
  const downloaded = isDownloaded(new URL(file, import.meta.url).href);
  await Promise.race([starting, downloaded.then(() => within(THREADS_START_MS, starting))]);
}

async function initRuntime(backend: Backend): Promise<void> {
  try {
    const ort = await importRuntime(backend);
    const bytes = fromHex(IDENTITY_MODEL);
    await (await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], logSeverityLevel: 3 })).release();
  } catch (error) {
    const { kind, message } = toEngineError(error, false);
    throw new RuntimeStartError(kind, message);
  }
}

/** What the sessions of one bundle are made from. */
export interface Networks {
  /** The encoder's network for a backend. */
  encoder(on: Backend): Promise<Uint8Array>;
  /**
   * Whether the encoder's network for WebAssembly has the operations that the runtime would arrive at: looking for others
   * takes time.
   */
  isOptimized: boolean;
  head: Uint8Array;
  info: BundleInfo;
  /** What they must compute for the known input, if that is known. */
  known: KnownAnswer | undefined;
}

/** The runtime's file for the CPU. Its name changes with its contents. */
export const CPU_RUNTIME = plainWasm;

/** The encoder and the head of one bundle. */
export class OnnxSessions {
  readonly backend: Backend;
  readonly threads: number;
  /** What the networks have computed for the known input. */
  answer: { embedding: Float32Array; logits: Float32Array } = {
    embedding: new Float32Array(),
    logits: new Float32Array(),
  };
  readonly #ort: typeof Ort;
  readonly #encoder: Ort.InferenceSession;
  readonly #head: Ort.InferenceSession;
  readonly #info: BundleInfo;

  private constructor(
    ort: typeof Ort,
    backend: Backend,
    encoder: Ort.InferenceSession,
    head: Ort.InferenceSession,
    info: BundleInfo,
  ) {
    this.#ort = ort;
    this.backend = backend;
    this.threads = ort.env.wasm.numThreads ?? 1;
    this.#encoder = encoder;
    this.#head = head;
    this.#info = info;
  }

  /**
   * Creates both sessions and runs them once, so that errors appear here and the first image is not delayed. What they
   * compute is compared with the known answer, if there is one. Neither is needed if they are verified already. With
   * `rejectSlowGpu` a slow GPU is an error.
   */
  static async load(
    backend: Backend,
    { encoder, isOptimized, head, info, known }: Networks,
    isVerified: boolean,
    rejectSlowGpu: boolean,
  ): Promise<OnnxSessions> {
    await startRuntime(backend);
    const ort = await importRuntime(backend);
    const options: Ort.InferenceSession.SessionOptions = {
      executionProviders: [backend === "webgpu" ? "webgpu" : "wasm"],
      logSeverityLevel: 3, // errors; warnings concern the authors of models
    };
    const sessions: Ort.InferenceSession[] = [];
    try {
      const network = await encoder(backend);
      const graphOptimizationLevel = isOptimized && backend !== "webgpu" ? "basic" : "all";
      sessions.push(await ort.InferenceSession.create(network, { ...options, graphOptimizationLevel }));
      free(network); // the runtime has a copy
      sessions.push(await ort.InferenceSession.create(head, options));
      const created = new OnnxSessions(ort, backend, sessions[0]!, sessions[1]!, info);
      if (isVerified) return created;
      const input = knownInput(info.size);
      const embedding = await created.encode(input);
      if (!isAsKnown(embedding, known?.embedding)) throw new WrongResultError();
      if (rejectSlowGpu && backend === "webgpu") {
        const start = performance.now(); // the first run compiled the shaders
        await created.encode(input);
        if (performance.now() - start > MAX_GPU_ENCODE_MS) throw new SlowError();
      }
      const logits = await created.logits(repeated(embedding, info.squares));
      created.answer = { embedding, logits: sampled(logits) };
      if (!isAsKnown(created.answer.logits, known?.logits)) throw new WrongResultError();
      return created;
    } catch (error) {
      for (const session of sessions) await session.release().catch(() => undefined);
      if (error instanceof EngineError || error instanceof SlowError) throw error;
      throw toEngineError(error, !info.id.startsWith("pocket@"));
    }
  }

  /** The encoder's output for one square of `3 × size × size` values. */
  async encode(square: Float32Array): Promise<Float32Array> {
    const { input, output, size } = this.#info;
    return this.#run(this.#encoder, input, square, [1, 3, size, size], output);
  }

  /** Logits over the cells for the embedding of one image. */
  async logits(embedding: Float32Array): Promise<Float32Array> {
    return this.#run(this.#head, this.#head.inputNames[0]!, embedding, [1, embedding.length], this.#info.logits);
  }

  async release(): Promise<void> {
    await this.#encoder.release().catch(() => undefined);
    await this.#head.release().catch(() => undefined);
  }

  async #run(
    session: Ort.InferenceSession,
    input: string,
    data: Float32Array,
    dims: number[],
    output: string,
  ): Promise<Float32Array> {
    const tensor = new this.#ort.Tensor("float32", data, dims);
    try {
      const results = await session.run({ [input]: tensor }, [output]);
      const result = results[output]!;
      const numbers = (await result.getData()) as Float32Array;
      result.dispose();
      return numbers;
    } finally {
      tensor.dispose();
    }
  }
}

/** `hasSmaller`: whether there is a smaller bundle. */
function toEngineError(error: unknown, hasSmaller: boolean): EngineError {
  const reason = error instanceof Error ? error.message : String(error);
  if (/memory|allocat|out of bounds|RangeError/i.test(reason) || error instanceof RangeError) {
    const advice = hasSmaller ? "close other tabs or use the smaller model" : "close other tabs and apps and try again";
    return new EngineError("no-memory", `There is not enough memory for this model: ${advice}.`);
  }
  if (/fetch|import|network|no available backend/i.test(reason)) {
    return new EngineError(
      "network",
      "The inference runtime could not be downloaded: check the connection and try again.",
    );
  }
  return new EngineError(
    "corrupt",
    `The model cannot be run in this browser (${reason}): clear the stored models and try again.`,
  );
}

/** Why a backend is not used after an error. */
export function rejectionReason(error: unknown): RejectedBackend["reason"] {
  if (error instanceof WrongResultError) return "wrong";
  if (error instanceof SlowError) return "slow";
  return error instanceof LateError ? "late" : "failed";
}
