// A bundle's two networks in onnxruntime-web: on the graphics processor where there is one, else in WebAssembly.
import type * as Ort from "onnxruntime-web/wasm";
import plainGlue from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import plainWasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import gpuGlue from "onnxruntime-web/ort-wasm-simd-threaded.jspi.mjs?url";
import gpuWasm from "onnxruntime-web/ort-wasm-simd-threaded.jspi.wasm?url";
import type { Opened } from "./model-wasm";
import { EngineError, type Status } from "./types";

export type Backend = Status["backend"];

/** More threads than this bring little for networks of this size. */
const MOST_THREADS = 4;

/** A graphics processor that takes longer for a square is not worth its start: of desktop, WebAssembly takes about as long on
 * one core of an ordinary computer. */
const SLOW_GPU_MS = 1000;

/** What this browser can compute with, best first. Graphics processors have no products of bytes here: a network that can
 * do without is computed there. */
export async function backends(canBeFloats: boolean): Promise<Backend[]> {
  const gpu = canBeFloats && (await hasGpu()) ? (["webgpu"] as const) : [];
  const threads = globalThis.crossOriginIsolated && spareCores() > 1 ? (["wasm-threads"] as const) : [];
  return [...gpu, ...threads, "wasm"];
}

/** The runtime for WebGPU suspends WebAssembly while the graphics processor works; not every browser can. A fallback
 * adapter is the processor in disguise, slower than WebAssembly. */
async function hasGpu(): Promise<boolean> {
  if (!("Suspending" in WebAssembly)) return false;
  const gpu = (navigator as { gpu?: { requestAdapter(): Promise<{ info?: { isFallbackAdapter?: boolean } } | null> } }).gpu;
  const adapter = await gpu?.requestAdapter().catch(() => null);
  return !!adapter && !adapter.info?.isFallbackAdapter;
}

/** Cores for threads; one is left to the page and to what else runs, since threads that wait for each other spin. */
function spareCores(): number {
  return Math.min(MOST_THREADS, navigator.hardwareConcurrency - 1);
}

async function runtime(backend: Backend): Promise<typeof Ort> {
  const ort: typeof Ort = await (backend === "webgpu" ? import("onnxruntime-web/jspi") : import("onnxruntime-web/wasm"));
  const [mjs, wasm] = backend === "webgpu" ? [gpuGlue, gpuWasm] : [plainGlue, plainWasm];
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = { mjs: new URL(mjs, import.meta.url).href, wasm: new URL(wasm, import.meta.url).href };
  ort.env.wasm.numThreads = backend === "wasm-threads" ? Math.max(2, spareCores()) : 1;
  return ort;
}

/** A network that gives its one number back: with it a runtime is started before the real ones are there. */
const NOTHING =
  "08083a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801620f0a0179120a0a08080112040a0208014202100d";
const started = new Map<typeof plainWasm, Promise<void>>();

/** The runtime could not be fetched or started, which it can be only once: it takes a new worker to try again. */
export class RuntimeLost extends EngineError {}

/** Fetches and starts a backend's runtime, unless that has been done. */
export function start(backend: Backend): Promise<void> {
  const file = backend === "webgpu" ? gpuWasm : plainWasm;
  let starting = started.get(file);
  if (!starting) {
    starting = begin(backend);
    started.set(file, starting);
  }
  return starting;
}

async function begin(backend: Backend): Promise<void> {
  try {
    const ort = await runtime(backend);
    const bytes = Uint8Array.from(NOTHING.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
    await (await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], logSeverityLevel: 3 })).release();
  } catch (error) {
    const { kind, message } = explained(error);
    throw new RuntimeLost(kind, message);
  }
}

/** The encoder and the head of one bundle. */
export class Networks {
  readonly backend: Backend;
  readonly threads: number;
  readonly #ort: typeof Ort;
  readonly #encoder: Ort.InferenceSession;
  readonly #head: Ort.InferenceSession;
  readonly #opened: Opened;

  private constructor(ort: typeof Ort, backend: Backend, encoder: Ort.InferenceSession, head: Ort.InferenceSession, opened: Opened) {
    this.#ort = ort;
    this.backend = backend;
    this.threads = ort.env.wasm.numThreads ?? 1;
    this.#encoder = encoder;
    this.#head = head;
    this.#opened = opened;
  }

  /** Loads both and computes once, so that what cannot work fails here and the first picture need not wait. With
   * `isChoosy` a slow graphics processor is such a thing. */
  static async load(backend: Backend, encoder: Uint8Array, head: Uint8Array, opened: Opened, isChoosy: boolean): Promise<Networks> {
    await start(backend);
    const ort = await runtime(backend);
    const options: Ort.InferenceSession.SessionOptions = {
      executionProviders: [backend === "webgpu" ? "webgpu" : "wasm"],
      logSeverityLevel: 3, // errors; warnings are for who writes networks
    };
    const sessions: Ort.InferenceSession[] = [];
    try {
      for (const network of [encoder, head]) sessions.push(await ort.InferenceSession.create(network, options));
      const networks = new Networks(ort, backend, sessions[0]!, sessions[1]!, opened);
      const nothing = new Float32Array(3 * opened.size ** 2);
      await networks.encode(nothing);
      if (isChoosy && backend === "webgpu") {
        const began = performance.now(); // the first time, programs were compiled
        await networks.encode(nothing);
        if (performance.now() - began > SLOW_GPU_MS) throw new Error("the graphics processor is slow");
      }
      await networks.logits(new Float32Array(opened.squares * opened.dim));
      return networks;
    } catch (error) {
      for (const session of sessions) await session.release().catch(() => undefined);
      throw explained(error);
    }
  }

  /** What the encoder gives for one square, `3 × size × size` numbers. */
  async encode(square: Float32Array): Promise<Float32Array> {
    const { input, output, size } = this.#opened;
    return this.#run(this.#encoder, input, square, [1, 3, size, size], output);
  }

  /** Logits over cells for one picture's embedding. */
  async logits(embedding: Float32Array): Promise<Float32Array> {
    return this.#run(this.#head, this.#head.inputNames[0]!, embedding, [1, embedding.length], this.#opened.logits);
  }

  async release(): Promise<void> {
    await this.#encoder.release().catch(() => undefined);
    await this.#head.release().catch(() => undefined);
  }

  async #run(session: Ort.InferenceSession, input: string, data: Float32Array, dims: number[], output: string): Promise<Float32Array> {
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

function explained(error: unknown): EngineError {
  const why = error instanceof Error ? error.message : String(error);
  if (/memory|allocat|out of bounds/i.test(why) || error instanceof RangeError) {
    return new EngineError("no-memory", "There is not enough memory for this model: close other tabs, or stay with the small one.");
  }
  if (/fetch|import|network|no available backend/i.test(why)) {
    return new EngineError("network", "The part that computes cannot be fetched: check the connection and try again.");
  }
  return new EngineError("corrupt", `The model cannot be computed here (${why}): clear the stored models and try again.`);
}
