// The model crate in WebAssembly (model/src/wasm.rs): images to tensors, logits to a prediction.
import { free } from "./support";
import { type LatLng, type Prediction, type Prior, EngineError } from "./types";

type Input = Uint8Array | Float32Array;

/** The exports of `landfall.wasm`. */
interface Exports {
  memory: WebAssembly.Memory;
  input(slot: number, length: number): number;
  output(): number;
  output_len(): number;
  open(): number;
  dimensions(): number;
  position(): number;
  picture(): number;
  warning(): number;
  pixels(width: number, height: number): number;
  embedding(): number;
  answer(): number;
  score(lat: number, lng: number, trueLat: number, trueLng: number, scaleM: number): number;
  encoder(hasInt8: number): number;
  hash(): number;
  digest(): number;
}

type ExportName = Exclude<keyof Exports, "memory" | "input" | "output" | "output_len">;

/** Names and sizes of the tensors of an open bundle. */
export interface BundleInfo {
  id: string;
  input: string;
  output: string;
  logits: string;
  dim: number;
  size: number;
  squares: number;
  cells: number;
}

/** The encoder's inputs for an image, one square after another, and what is wrong with its file, if anything. */
export interface Preprocessed {
  squares: Float32Array;
  warning: string | null;
}

/** The module rejected its input. The caller adds to the message what the input was. */
export class InvalidInputError extends Error {}

/** WebAssembly memory never shrinks: an instance that has grown beyond this, for a large image, is replaced. */
const MAX_MEMORY_BYTES = 192 << 20;
const HASH_CHUNK_BYTES = 4 << 20;

/** One instance of the module, with one bundle open at a time. */
export class WasmModel {
  readonly #module: WebAssembly.Module;
  #exports: Exports;
  #bundle: { manifest: Uint8Array; cells: Uint8Array } | undefined;

  constructor(module: WebAssembly.Module) {
    this.#module = module;
    this.#exports = instantiate(module);
  }

  /** Opens a bundle, given the contents of its bundle.json and cells.json. */
  open(manifest: Uint8Array, cells: Uint8Array): BundleInfo {
    const info = json<BundleInfo>(this.#call("open", [manifest, cells]));
    this.#bundle = { manifest, cells };
    return info;
  }

  /** Width and height of an image from its file header. */
  dimensions(file: Uint8Array): [number, number] {
    return json(this.#call("dimensions", [file]));
  }

  /** The position in the metadata of an image file; `null` if it has none that can be used. */
  position(file: Uint8Array): LatLng | null {
    return json(this.#call("position", [file]));
  }

  /**
   * The encoder's inputs for a file in any format of `model/src/images`, one square after another, and what is wrong with
   * the file: parts of it may be missing.
   */
  preprocessFile(file: Uint8Array): Preprocessed {
    const squares = floats(this.#call("picture", [file]));
    return { squares, warning: json(this.#call("warning", [])) };
  }

  /** The encoder's inputs for RGBA pixels. */
  preprocessPixels(rgba: Uint8Array, width: number, height: number): Float32Array<ArrayBuffer> {
    return floats(this.#call("pixels", [rgba], width, height));
  }

  /** The head's input from the concatenated encoder outputs of all squares of an image. */
  embedding(outputs: Float32Array): Float32Array<ArrayBuffer> {
    return floats(this.#call("embedding", [outputs]));
  }

  /** The prediction for one place from the concatenated logits of its views. */
  predict(logits: Float32Array, prior: Prior = "photo"): Omit<Prediction, "ms" | "warnings"> {
    return json(this.#call("answer", [logits, new TextEncoder().encode(prior)]));
  }

  score(
    lat: number,
    lng: number,
    trueLat: number,
    trueLng: number,
    scaleM: number,
  ): { points: number; distanceKm: number } {
    return json(this.#call("score", [], lat, lng, trueLat, trueLng, scaleM));
  }

  /**
   * The ONNX model of the open bundle's encoder for a backend with or without int8 products, from the downloaded file
   * and its adapter. The file is freed as soon as the module has a copy, since a phone has no memory for many of them.
   */
  encoder(network: Uint8Array, adapter: Uint8Array | undefined, hasInt8: boolean): Uint8Array<ArrayBuffer> {
    return this.#call("encoder", adapter ? [network, adapter] : [network], hasInt8 ? 1 : 0);
  }

  /** SHA-256 in lower-case hexadecimal. */
  sha256(bytes: Uint8Array): string {
    for (let start = 0; start < bytes.length; start += HASH_CHUNK_BYTES) {
      this.#call("hash", [bytes.subarray(start, start + HASH_CHUNK_BYTES)]);
    }
    return new TextDecoder().decode(this.#call("digest", []));
  }

  #call(entry: ExportName, inputs: Input[], ...numbers: number[]): Uint8Array<ArrayBuffer> {
    const exports = this.#exports;
    try {
      inputs.forEach((input, slot) => {
        const address = exports.input(slot, input.byteLength);
        if (address === 0) throw outOfMemory();
        const bytes = new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
        new Uint8Array(exports.memory.buffer, address, input.byteLength).set(bytes);
        if (entry === "encoder" && slot === 0) free(bytes);
      });
      const failed = (exports[entry] as (...numbers: number[]) => number)(...numbers);
      const address = exports.output();
      const output = new Uint8Array(exports.memory.buffer.slice(address, address + exports.output_len()));
      if (failed) throw new InvalidInputError(new TextDecoder().decode(output));
      return output;
    } catch (error) {
      if (error instanceof InvalidInputError) throw error;
      // A trap: out of memory, or a bug. It leaves the instance unusable, so the next call gets a new one.
      this.#reset();
      throw error instanceof WebAssembly.RuntimeError ? outOfMemory() : error;
    } finally {
      if (exports === this.#exports && exports.memory.buffer.byteLength > MAX_MEMORY_BYTES) this.#reset();
    }
  }

  #reset() {
    this.#exports = instantiate(this.#module);
    if (this.#bundle) this.open(this.#bundle.manifest, this.#bundle.cells);
  }
}

function instantiate(module: WebAssembly.Module): Exports {
  return new WebAssembly.Instance(module).exports as unknown as Exports;
}

function outOfMemory(): EngineError {
  return new EngineError("no-memory", "There is not enough memory for this: close other tabs or use a smaller image.");
}

function json<T>(bytes: Uint8Array): T {
  return JSON.parse(new TextDecoder().decode(bytes)) as T;
}

function floats(bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  return new Float32Array(bytes.buffer);
}
