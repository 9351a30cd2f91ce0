// Downloads of one file each, resumed from the pieces that an interrupted one left in the storage.
import { isGzip } from "./gzip";
import { EngineError } from "./types";

/** A piece of a download is stored each time this many bytes have arrived. */
const PIECE_BYTES = 4 << 20;

export type Bytes = Uint8Array<ArrayBuffer>;

/** What to download. */
export interface Source {
  url: string;
  /** Name for error messages. */
  file: string;
  /** Size in bytes, if known. */
  bytes: number | undefined;
  /** Key of the file in the storage; the pieces get keys derived from it. */
  key: string;
}

/** How far a download has come, in bytes. `total` is 0 if unknown. */
export type OnReceived = (received: number, total: number) => void;

/** Downloads a file, resuming after the stored pieces. */
export async function download(
  source: Source,
  store: Cache | undefined,
  onReceived: OnReceived,
  signal?: AbortSignal,
): Promise<Bytes> {
  const buffer = new DownloadBuffer(source.bytes);
  let pieces = 0;
  for (let stored; (stored = await store?.match(pieceKey(source.key, pieces))); pieces++) {
    buffer.push(new Uint8Array(await stored.arrayBuffer()));
  }
  const storePiece = async (from: number) => {
    if (from === 0) {
      await deletePieces(store, source.key); // stale: the server restarted from the beginning
      pieces = 0;
    }
    // If this fails, the download only cannot be resumed from here.
    const isStored = await put(store, pieceKey(source.key, pieces), buffer.bytes.slice(from));
    if (isStored) pieces++;
    return isStored;
  };
  for (;;) {
    const before = buffer.length;
    const { total, complete } = await receive(source.url, buffer, onReceived, storePiece, signal);
    if (complete) return buffer.bytes;
    if (signal?.aborted) throw cancelled();
    if (buffer.length > before) continue; // retry as long as there is progress
    const doneMb = formatMb(buffer.length);
    throw doneMb === "0.0"
      ? unreachable(`The model's ${source.file}`)
      : interrupted(source.file, doneMb, formatMb(Math.max(total, source.bytes ?? 0)));
  }
}

/** Requests the missing bytes. Returns the total size and whether all of it has arrived. */
async function receive(
  url: string,
  buffer: DownloadBuffer,
  onReceived: OnReceived,
  storePiece: (from: number) => Promise<boolean>,
  signal: AbortSignal | undefined,
): Promise<{ total: number; complete: boolean }> {
  let total = 0;
  let storedLength = buffer.length;
  try {
    const headers: HeadersInit = storedLength > 0 ? { Range: `bytes=${storedLength}-` } : {};
    const response = await fetch(url, { headers, cache: "no-store", ...(signal ? { signal } : {}) });
    const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "");
    const isResumed = response.status === 206 && Number(range?.[1]) === storedLength;
    if (response.status === 416 && storedLength > 0) return { total: storedLength, complete: true }; // already complete
    if (!response.ok || !response.body) return { total, complete: false };
    if (!isResumed) buffer.length = storedLength = 0;
    const encoded = response.headers.has("Content-Encoding");
    total = isResumed ? Number(range?.[2]) : encoded ? 0 : Number(response.headers.get("Content-Length") ?? 0);
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      buffer.push(value);
      onReceived(buffer.length, Math.max(total, buffer.expected, buffer.length));
      if (buffer.length - storedLength >= PIECE_BYTES && (await storePiece(storedLength))) storedLength = buffer.length;
    }
    const complete = buffer.length >= total && buffer.length >= buffer.expected;
    if (!complete && buffer.length > storedLength) await storePiece(storedLength);
    return { total, complete };
  } catch {
    if (buffer.length > storedLength) await storePiece(storedLength);
    return { total, complete: false };
  }
}

/** Buffer for incoming bytes, allocated once if the total size is known. */
export class DownloadBuffer {
  length = 0;
  readonly #size: number;
  #buffer: Bytes;

  constructor(size = 0) {
    this.#size = size;
    this.#buffer = new Uint8Array(0);
  }

  /** Number of bytes that must arrive, if known. The size of a compressed file is that of its contents. */
  get expected(): number {
    return isGzip(this.bytes) ? 0 : this.#size;
  }

  get bytes(): Bytes {
    return this.#buffer.subarray(0, this.length);
  }

  push(chunk: Uint8Array) {
    const length = this.length + chunk.length;
    if (length > this.#buffer.length) {
      const compressed = isGzip(this.length > 0 ? this.bytes : chunk);
      const larger = new Uint8Array(Math.max(length, 2 * this.#buffer.length, compressed ? 0 : this.#size));
      larger.set(this.bytes);
      this.#buffer = larger;
    }
    this.#buffer.set(chunk, this.length);
    this.length = length;
  }
}

/** Stores bytes under a key, with further headers. Returns whether that succeeded. */
export async function put(
  store: Cache | undefined,
  key: string,
  bytes: Bytes,
  more: Record<string, string> = {},
): Promise<boolean> {
  const headers = { "Content-Type": "application/octet-stream", "Content-Length": String(bytes.length), ...more };
  return store
    ? store.put(key, new Response(bytes, { headers })).then(
        () => true,
        () => false,
      )
    : false;
}

export async function deletePieces(store: Cache | undefined, key: string): Promise<void> {
  for (let piece = 0; await store?.delete(pieceKey(key, piece)); piece++);
}

function pieceKey(key: string, piece: number): string {
  return `${key}.${piece}`;
}

/** Megabytes with one decimal. */
export function formatMb(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

export function unreachable(what: string): EngineError {
  return new EngineError("network", `${what} could not be downloaded: check the connection and try again.`);
}

function interrupted(file: string, doneMb: string, totalMb: string): EngineError {
  const message =
    `The download of the model's ${file} stopped after ${doneMb} of ${totalMb} MB: ` +
    "check the connection and try again; it will be resumed.";
  return new EngineError("network", message);
}

export function cancelled(): EngineError {
  return new EngineError("cancelled", "The download was stopped.");
}
