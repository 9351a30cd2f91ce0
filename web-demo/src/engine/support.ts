// What the browser supports, found by trying.
import { EngineError } from "./types";

/** Maximum time in milliseconds for a thread to start. */
const THREAD_START_MS = 5000;

const POLL_MS = 200;

/** The memory that ONNX Runtime asks for when it uses threads, in pages of 64 KiB. */
const SHARED_MEMORY = { initial: 256, maximum: 65_536, shared: true };

/** A module with one SIMD instruction. */
const SIMD_MODULE = "0061736d010000000105016000017b030201000a0a0108004100fd0ffd620b";

/** The bytes of a hexadecimal text. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

/** SHA-256 in lower-case hexadecimal, computed by the browser; `undefined` at an insecure address. */
export async function nativeSha256(bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
  if (!globalThis.crypto?.subtle) return undefined;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Resolves after the messages that have arrived are handled. Promises alone would not let them in. */
export function nextTask(): Promise<void> {
  return new Promise((done) => setTimeout(done));
}

/** Frees the memory of a large buffer at once, in browsers that can; the others wait for their garbage collection. */
export function free(bytes: Uint8Array): void {
  (bytes.buffer as { transfer?(length: number): unknown }).transfer?.(0);
}

/** Something took too long. */
export class LateError extends Error {}

/** The result of `work`, or an error if it takes longer than `ms` milliseconds. */
export function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new LateError(`no answer within ${ms} ms`)), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** Checks that the browser can run the models at all, and throws an `EngineError` if not. */
export function requireWebAssembly(): void {
  if (typeof WebAssembly === "undefined") {
    const message =
      "WebAssembly is turned off in this browser, as in Lockdown Mode: allow it for this site, or use another browser.";
    throw new EngineError("unsupported", message);
  }
  if (!WebAssembly.validate(fromHex(SIMD_MODULE))) throw tooOld("the models");
}

/** The error for a browser that lacks something that newer versions have. */
export function tooOld(forWhat: string): EngineError {
  const message =
    `This browser is too old for ${forWhat}: update it (Safari 16.4, Chrome 91 or Firefox 105, or newer), ` +
    "or use another browser.";
  return new EngineError("unsupported", message);
}

/** Resolves when the download of a file has ended, as the browser has recorded it. */
export async function isDownloaded(url: string): Promise<void> {
  while (performance.getEntriesByName(url).length === 0) await new Promise((done) => setTimeout(done, POLL_MS));
}

/**
 * Whether WebAssembly can use threads here; `late` if they do not start in time. Content blockers, policies and old
 * browsers keep workers from starting within a worker, often without an error, and devices short of memory have none to
 * share.
 */
export async function trySharedThreads(): Promise<"yes" | "no" | "late"> {
  if (!globalThis.crossOriginIsolated || typeof Worker === "undefined") return "no";
  try {
    const memory = new WebAssembly.Memory(SHARED_MEMORY);
    const thread = new Worker(new URL("./thread-probe.ts", import.meta.url), { type: "module" });
    const written = new Promise<void>((done, failed) => {
      thread.onmessage = () => done();
      thread.onerror = (event) => {
        event.preventDefault();
        failed(new Error(event.message));
      };
    });
    thread.postMessage(memory);
    await within(THREAD_START_MS, written).finally(() => thread.terminate());
    return Atomics.load(new Int32Array(memory.buffer), 0) === 1 ? "yes" : "no";
  } catch (error) {
    return error instanceof LateError ? "late" : "no";
  }
}

let altersPixels: boolean | undefined;

/** Whether the browser alters the pixels that pages read from a canvas, as a protection from fingerprinting. */
export function pixelsAreAltered(): boolean {
  altersPixels ??= readsOtherPixels();
  return altersPixels;
}

function readsOtherPixels(): boolean {
  const side = 16;
  const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
  if (!context) return false;
  const written = context.createImageData(side, side);
  for (let i = 0; i < written.data.length; i++) written.data[i] = i % 4 === 3 ? 255 : (i * 37) % 256;
  context.putImageData(written, 0, 0);
  const { data } = context.getImageData(0, 0, side, side);
  return data.some((value, i) => Math.abs(value - written.data[i]!) > 1);
}
