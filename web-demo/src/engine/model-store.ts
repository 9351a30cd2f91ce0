// Model files, from the browser's storage or downloaded from the page's origin; their SHA-256 is checked in both
// cases.
//
// An interrupted download leaves parts behind and is resumed from them. A lock per file lets only one tab download
// it; other tabs wait and then find it in the storage. Without storage (insecure origin, private window) files are
// downloaded again on each visit.
import { type BundleFile, type Manifest, corruptFile, filesOf, parseManifest } from "./manifest";
import { EngineError, type Progress } from "./types";

const CACHE_NAME = "landfall-models";
/** A part of a download is stored each time this many bytes have arrived. */
const PART_BYTES = 4 << 20;

type Bytes = Uint8Array<ArrayBuffer>;
export type Report = (progress: Progress) => void;
export type Sha256 = (bytes: Bytes) => Promise<string>;

export class ModelStore {
  readonly #base: URL;
  readonly #sha256: Sha256;
  /** A message for the user if a file could not be stored, else `null`. */
  note: string | null = null;

  /** `base` is the URL of the folder that contains one folder per bundle. */
  constructor(base: string, sha256: Sha256) {
    this.#base = new URL(base);
    this.#sha256 = sha256;
  }

  /** The bundle.json of a bundle: the server's, or the stored one without a network connection. */
  async manifest(name: string): Promise<{ manifest: Manifest; bytes: Bytes } | undefined> {
    const url = this.#url(name, "bundle.json");
    const store = await open();
    const response = await fetch(url, { cache: "no-cache" }).catch(() => undefined);
    let bytes: Bytes | undefined;
    if (response?.ok)
      bytes = await response.arrayBuffer().then(
        (buffer) => new Uint8Array(buffer),
        () => undefined,
      );
    if (!bytes) {
      const stored = await store?.match(url);
      if (stored) bytes = new Uint8Array(await stored.arrayBuffer());
      else if (!response) throw unreachable("The list of models");
    }
    const manifest = bytes && parseManifest(new TextDecoder().decode(bytes));
    if (!bytes || !manifest) return undefined;
    if (response?.ok) await this.#storeFile(store, url, bytes);
    return { manifest, bytes };
  }

  /** Total size of a bundle's files in bytes, and whether all of them are stored. */
  async size(name: string, manifest: Manifest): Promise<{ bytes: number; cached: boolean }> {
    const store = await open();
    let bytes = 0;
    let cached = true;
    for (const file of filesOf(manifest)) {
      const stored = await store?.match(this.#key(file));
      if (!stored) cached = false;
      bytes += stored ? contentLength(stored) : (file.bytes ?? (await this.#remoteSize(name, file)));
    }
    return { bytes, cached };
  }

  /** The contents of a bundle's file. */
  async file(name: string, file: BundleFile, report: Report): Promise<Bytes> {
    const key = this.#key(file);
    return withLock(key, async () => {
      const store = await open();
      const stored = await store?.match(key);
      if (stored) {
        const bytes = await readBytes(stored);
        if (bytes && (await this.#sha256(bytes)) === file.sha256) {
          report({ file: file.file, received: bytes.length, total: bytes.length, cached: true });
          return bytes;
        }
        await store?.delete(key);
      }
      const url = this.#url(name, file.file);
      for (let attempt = 0; attempt < 2; attempt++) {
        const bytes = await this.#download(url, file, store, report);
        const isValid = (await this.#sha256(bytes)) === file.sha256;
        if (isValid) await this.#storeFile(store, key, bytes);
        await deleteParts(store, key);
        if (isValid) return bytes;
      }
      throw corruptFile(file.file);
    });
  }

  /** Deletes the stored files of replaced bundle versions. */
  async deleteUnused(): Promise<void> {
    const store = await open();
    const keys = (await store?.keys()) ?? [];
    const needed = new Set<string>();
    for (const key of keys.filter(({ url }) => url.endsWith("/bundle.json"))) {
      const manifest = parseManifest((await (await store?.match(key))?.text()) ?? "");
      for (const { sha256 } of manifest ? filesOf(manifest) : []) needed.add(sha256);
    }
    for (const key of keys) {
      const sha256 = /\/sha256\/([0-9a-f]{64})/.exec(key.url)?.[1];
      if (sha256 && !needed.has(sha256)) await store?.delete(key);
    }
  }

  async clear(): Promise<void> {
    try {
      if (globalThis.caches) await caches.delete(CACHE_NAME);
    } catch {
      const message =
        "The browser did not allow clearing the storage: clear this site's data in the browser's settings.";
      throw new EngineError("storage", message);
    }
  }

  /** Downloads a file, resuming after the stored parts. */
  async #download(url: string, file: BundleFile, store: Cache | undefined, report: Report): Promise<Bytes> {
    const buffer = new DownloadBuffer(file.bytes);
    const key = this.#key(file);
    let part = 0;
    for (let stored; (stored = await store?.match(partKey(key, part))); part++) {
      buffer.push(new Uint8Array(await stored.arrayBuffer()));
    }
    const reportProgress = (total: number) =>
      report({ file: file.file, received: buffer.length, total, cached: false });
    for (;;) {
      const before = buffer.length;
      const { total, complete } = await this.#receive(url, buffer, reportProgress, async (from) => {
        if (from === 0) {
          await deleteParts(store, key); // stale: the server restarted from the beginning
          part = 0;
        }
        // If this fails, the download only cannot be resumed from here.
        const isStored = await put(store, partKey(key, part), buffer.bytes.slice(from));
        if (isStored) part++;
        return isStored;
      });
      if (complete) return buffer.bytes;
      if (buffer.length > before) continue; // retry as long as there is progress
      const [doneMb, totalMb] = [buffer.length, Math.max(total, file.bytes ?? 0)].map((bytes) =>
        (bytes / 1e6).toFixed(1),
      );
      throw doneMb === "0.0"
        ? unreachable(`The model's ${file.file}`)
        : interrupted(file.file, doneMb ?? "", totalMb ?? "");
    }
  }

  /** Requests the missing bytes. Returns the total size and whether all of it has arrived. */
  async #receive(
    url: string,
    buffer: DownloadBuffer,
    reportProgress: (total: number) => void,
    storePart: (from: number) => Promise<boolean>,
  ): Promise<{ total: number; complete: boolean }> {
    let total = 0;
    let storedLength = buffer.length;
    try {
      const headers: HeadersInit = storedLength > 0 ? { Range: `bytes=${storedLength}-` } : {};
      const response = await fetch(url, { headers, cache: "no-store" });
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
        reportProgress(Math.max(total, buffer.expected, buffer.length));
        if (buffer.length - storedLength >= PART_BYTES && (await storePart(storedLength))) storedLength = buffer.length;
      }
      const complete = buffer.length >= total && buffer.length >= buffer.expected;
      if (!complete && buffer.length > storedLength) await storePart(storedLength);
      return { total, complete };
    } catch {
      if (buffer.length > storedLength) await storePart(storedLength);
      return { total, complete: false };
    }
  }

  /** The size in bytes of a file on the server; 0 if unknown. */
  async #remoteSize(name: string, file: BundleFile): Promise<number> {
    const response = await fetch(this.#url(name, file.file), { method: "HEAD" }).catch(() => undefined);
    return Number((response?.ok && response.headers.get("Content-Length")) || 0);
  }

  async #storeFile(store: Cache | undefined, key: string, bytes: Bytes): Promise<void> {
    if (await put(store, key, bytes)) return;
    this.note = store
      ? "The browser's storage is full: the model works now, but will be downloaded again on the next visit; " +
        "free some space or clear unused models."
      : "The browser stores nothing for this page (insecure address or private window): " +
        "the model will be downloaded again on the next visit.";
  }

  #url(name: string, file: string): string {
    return new URL(`${name}/${file}`, this.#base).href;
  }

  #key(file: BundleFile): string {
    return new URL(`sha256/${file.sha256}`, this.#base).href;
  }
}

/** Buffer for incoming bytes, allocated once if the total size is known. */
class DownloadBuffer {
  readonly expected: number;
  length = 0;
  #buffer: Bytes;

  constructor(expected = 0) {
    this.expected = expected;
    this.#buffer = new Uint8Array(expected);
  }

  get bytes(): Bytes {
    return this.#buffer.subarray(0, this.length);
  }

  push(chunk: Uint8Array) {
    const length = this.length + chunk.length;
    if (length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#buffer.length));
      larger.set(this.bytes);
      this.#buffer = larger;
    }
    this.#buffer.set(chunk, this.length);
    this.length = length;
  }
}

/** Opens the storage; `undefined` if there is none. */
async function open(): Promise<Cache | undefined> {
  return globalThis.caches ? caches.open(CACHE_NAME).catch(() => undefined) : undefined;
}

async function put(store: Cache | undefined, key: string, bytes: Bytes): Promise<boolean> {
  const headers = { "Content-Type": "application/octet-stream", "Content-Length": String(bytes.length) };
  return store
    ? store.put(key, new Response(bytes, { headers })).then(
        () => true,
        () => false,
      )
    : false;
}

async function readBytes(stored: Response): Promise<Bytes | undefined> {
  return stored.arrayBuffer().then(
    (buffer) => new Uint8Array(buffer),
    () => undefined,
  );
}

function contentLength(stored: Response): number {
  return Number(stored.headers.get("Content-Length") ?? 0);
}

function partKey(key: string, part: number): string {
  return `${key}.${part}`;
}

async function deleteParts(store: Cache | undefined, key: string): Promise<void> {
  for (let part = 0; await store?.delete(partKey(key, part)); part++);
}

/** Runs `work` under a lock shared by the tabs of this origin, if the browser supports locks. */
async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  return globalThis.navigator?.locks ? await navigator.locks.request(name, work) : work();
}

function unreachable(what: string): EngineError {
  return new EngineError("network", `${what} could not be downloaded: check the connection and try again.`);
}

function interrupted(file: string, doneMb: string, totalMb: string): EngineError {
  const message =
    `The download of the model's ${file} stopped after ${doneMb} of ${totalMb} MB: ` +
    "check the connection and try again; it will be resumed.";
  return new EngineError("network", message);
}
