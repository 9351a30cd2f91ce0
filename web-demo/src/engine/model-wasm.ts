// The model crate in WebAssembly (model/src/wasm.rs): pictures to tensors, logits to an answer.
import { type Answer, EngineError } from "./types";

type Input = Uint8Array | Float32Array;

/** What `landfall.wasm` exports. */
interface Exports {
  memory: WebAssembly.Memory;
  input(slot: number, length: number): number;
  output(): number;
  output_len(): number;
  open(): number;
  dimensions(): number;
  picture(): number;
  pixels(width: number, height: number): number;
  embedding(): number;
  answer(): number;
  score(lat: number, lng: number, trueLat: number, trueLng: number, scaleM: number): number;
  encoder(hasBytes: number): number;
  hash(): number;
  digest(): number;
}

type Entry = Exclude<keyof Exports, "memory" | "input" | "output" | "output_len">;

/** The names and sizes of an open bundle's tensors. */
export interface Opened {
  id: string;
  input: string;
  output: string;
  logits: string;
  dim: number;
  size: number;
  squares: number;
  cells: number;
}

/** What the core says about its input; the caller knows what that was. */
export class Refused extends Error {}

/** An instance's memory only grows: one that a large picture has made larger than this is replaced, in bytes. */
const MOST_MEMORY = 192 << 20;
const SLICE = 4 << 20;

/** One instance of the core, with one bundle open at a time. */
export class Core {
  readonly #module: WebAssembly.Module;
  #exports: Exports;
  #opened: { manifest: Uint8Array; cells: Uint8Array } | undefined;

  constructor(module: WebAssembly.Module) {
    this.#module = module;
    this.#exports = instantiate(module);
  }

  /** Makes the contents of a bundle.json and its cells.json those that pictures and answers are for. */
  open(manifest: Uint8Array, cells: Uint8Array): Opened {
    const opened = json<Opened>(this.#call("open", [manifest, cells]));
    this.#opened = { manifest, cells };
    return opened;
  }

  /** Width and height of a picture by its file's header. */
  dimensions(file: Uint8Array): [number, number] {
    return json(this.#call("dimensions", [file]));
  }

  /** The encoder's inputs for the picture in a JPEG, PNG or WebP file, square after square. */
  picture(file: Uint8Array): Float32Array<ArrayBuffer> {
    return floats(this.#call("picture", [file]));
  }

  /** The encoder's inputs for pixels of four bytes. */
  pixels(rgba: Uint8Array, width: number, height: number): Float32Array<ArrayBuffer> {
    return floats(this.#call("pixels", [rgba], width, height));
  }

  /** The head's input from the encoder's outputs for all squares of a picture. */
  embedding(outputs: Float32Array): Float32Array<ArrayBuffer> {
    return floats(this.#call("embedding", [outputs]));
  }

  /** The answer for one place from the logits of its views, row after row. */
  answer(logits: Float32Array): Omit<Answer, "ms"> {
    return json(this.#call("answer", [logits]));
  }

  score(lat: number, lng: number, trueLat: number, trueLng: number, scaleM: number): { points: number; distanceKm: number } {
    return json(this.#call("score", [], lat, lng, trueLat, trueLng, scaleM));
  }

  /** The open bundle's encoder as it is computed where there are products of bytes or not, from the downloaded file and
   * that of its adapter. */
  encoder(network: Uint8Array, adapter: Uint8Array | undefined, hasBytes: boolean): Uint8Array<ArrayBuffer> {
    return this.#call("encoder", adapter ? [network, adapter] : [network], hasBytes ? 1 : 0);
  }

  /** Lower-case hexadecimal sha256. */
  sha256(bytes: Uint8Array): string {
    for (let at = 0; at < bytes.length; at += SLICE) this.#call("hash", [bytes.subarray(at, at + SLICE)]);
    return new TextDecoder().decode(this.#call("digest", []));
  }

  #call(entry: Entry, inputs: Input[], ...numbers: number[]): Uint8Array<ArrayBuffer> {
    const exports = this.#exports;
    try {
      inputs.forEach((input, slot) => {
        const at = exports.input(slot, input.byteLength);
        if (at === 0) throw outOfMemory();
        const bytes = new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
        new Uint8Array(exports.memory.buffer, at, input.byteLength).set(bytes);
      });
      const failed = (exports[entry] as (...numbers: number[]) => number)(...numbers);
      const at = exports.output();
      const output = new Uint8Array(exports.memory.buffer.slice(at, at + exports.output_len()));
      if (failed) throw new Refused(new TextDecoder().decode(output));
      return output;
    } catch (error) {
      if (error instanceof Refused) throw error;
      // A trap: memory that ran out or a fault of ours. The instance is lost, the next call has a fresh one.
      this.#renew();
      throw error instanceof WebAssembly.RuntimeError ? outOfMemory() : error;
    } finally {
      if (exports === this.#exports && exports.memory.buffer.byteLength > MOST_MEMORY) this.#renew();
    }
  }

  #renew() {
    this.#exports = instantiate(this.#module);
    if (this.#opened) this.open(this.#opened.manifest, this.#opened.cells);
  }
}

function instantiate(module: WebAssembly.Module): Exports {
  return new WebAssembly.Instance(module).exports as unknown as Exports;
}

function outOfMemory(): EngineError {
  return new EngineError("no-memory", "There is not enough memory for this: close other tabs, or take a smaller picture.");
}

function json<T>(bytes: Uint8Array): T {
  return JSON.parse(new TextDecoder().decode(bytes)) as T;
}

function floats(bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  return new Float32Array(bytes.buffer);
}
