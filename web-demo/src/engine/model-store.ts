// Model files, from the browser's storage or downloaded from the page's origin; their SHA-256 is checked in both
// cases.
//
// Large files are split into parts by the build (`build/bundles.ts`), each with a SHA-256 of its own. Files are stored
// as they were sent: in parts, and compressed if they are gzip files. An interrupted download is resumed. A lock per file
// lets only one tab download it; other tabs wait and then find it in the storage. Without storage (insecure origin,
// private window) files are downloaded again on each visit.
import { type Bytes, cancelled, deletePieces, download, put, unreachable } from "./download";
import { FileBuilder } from "./file-builder";
import {
  type BundleFile,
  corruptFile,
  filesOf,
  type Manifest,
  MAX_PART_BYTES,
  parseManifest,
  parseParts,
  type Part,
  PARTS_FILE,
} from "./manifest";
import { EngineError, type Progress } from "./types";

const CACHE_NAME = "landfall-models";
/** Whole files or parts that may be downloaded in vain before a file is reported as corrupt. */
const MAX_DOWNLOADS = 2;

export type Report = (progress: Progress) => void;
export type Sha256 = (bytes: Bytes) => Promise<string>;

export interface FileOptions {
  report: Report;
  /** Stops a download; what has arrived is kept. */
  signal?: AbortSignal | undefined;
  /** Whether a file that cannot be stored is an error. */
  mustStore?: boolean;
}

/** A file or a part of it as it lies on the server. Only parts have a hash of their own. */
type Piece = Pick<Part, "file"> & Partial<Part>;

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
    const store = await openStore();
    const bytes = await this.#latest(this.#url(name, "bundle.json"), store, "The list of models", parseManifest);
    return bytes && { manifest: parseManifest(text(bytes))!, bytes };
  }

  /** Sizes of a bundle's files, in bytes: of all, and of those that are not stored. `cached`: all files are stored. */
  async size(name: string, manifest: Manifest): Promise<{ bytes: number; missing: number; cached: boolean }> {
    const store = await openStore();
    let [bytes, missing, cached] = [0, 0, true];
    for (const file of filesOf(manifest)) {
      for (const piece of await this.#pieces(name, file, store)) {
        const stored = await store?.match(this.#key(file, piece));
        const size = stored ? contentLength(stored) : (piece.bytes ?? (await this.#remoteSize(name, file)));
        bytes += size;
        if (stored) continue;
        cached = false;
        missing += size;
      }
    }
    return { bytes, missing, cached };
  }

  /** The contents of a bundle's file. */
  async file(name: string, file: BundleFile, options: FileOptions): Promise<Bytes> {
    return withLock(this.#key(file), options.signal, async () => {
      const store = await openStore();
      if (options.mustStore && !store) throw new EngineError("storage", "The browser stores nothing for this page.");
      const pieces = await this.#pieces(name, file, store);
      for (let downloads = 0; downloads < MAX_DOWNLOADS; ) {
        const found = await this.#assemble(name, file, pieces, store, options);
        if (found.isDownloaded) downloads++;
        const isValid = found.contents && (await this.#sha256(found.contents)) === file.sha256;
        // The pieces first, so that there is room for one copy at least.
        if (found.isDownloaded) await deletePieces(store, this.#key(file));
        // An undivided file is stored when it is complete and valid; parts have been stored already.
        if (isValid && found.undivided) await this.#storeFile(store, this.#key(file), found.undivided, options);
        if (isValid) return found.contents!;
        await this.#deleteInvalid(file, pieces, store, found.isDownloaded);
      }
      throw corruptFile(file.file);
    });
  }

  /** Deletes the stored files of replaced bundle versions. */
  async deleteUnused(): Promise<void> {
    const store = await openStore();
    const keys = (await store?.keys()) ?? [];
    const needed = new Set<string>();
    const textOf = async (key: Request) => (await (await store?.match(key))?.text()) ?? "";
    for (const key of keys) {
      const manifest = key.url.endsWith("/bundle.json") && parseManifest(await textOf(key));
      for (const { sha256 } of manifest ? filesOf(manifest) : []) needed.add(sha256);
      const parts = key.url.endsWith(`/${PARTS_FILE}`) && parseParts(await textOf(key));
      for (const { sha256 } of parts ? Object.values(parts).flat() : []) needed.add(sha256);
    }
    for (const key of keys) {
      const hashes = /\/sha256\/(.*)/.exec(key.url)?.[1]?.match(/[0-9a-f]{64}/g) ?? [];
      if (!hashes.every((sha256) => needed.has(sha256))) await store?.delete(key);
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

  /**
   * The parts of a file; the file itself if it is stored or served undivided, as by `landfall serve` and by builds before
   * there were parts.
   */
  async #pieces(name: string, file: BundleFile, store: Cache | undefined): Promise<Piece[]> {
    if ((file.bytes ?? 0) <= MAX_PART_BYTES || (await store?.match(this.#key(file)))) return [file].map(undivided);
    const url = this.#url(name, PARTS_FILE);
    const bytes = await this.#latest(url, store, `The model's ${file.file}`, parseParts);
    return (bytes && parseParts(text(bytes))?.[file.file]) || [file].map(undivided);
  }

  /** Reads or downloads all parts of a file. `contents` is missing if they are not valid gzip data. */
  async #assemble(
    name: string,
    file: BundleFile,
    pieces: Piece[],
    store: Cache | undefined,
    { report, signal, mustStore = false }: FileOptions,
  ): Promise<{ contents?: Bytes; isDownloaded: boolean; undivided?: Bytes }> {
    const builder = new FileBuilder(file.bytes);
    let [received, isDownloaded, isGood] = [0, false, true];
    let whole: Bytes | undefined;
    const sum = pieces.reduce((sum, { bytes = 0 }) => sum + bytes, 0);
    for (const piece of pieces) {
      if (signal?.aborted) throw cancelled();
      const before = received;
      const key = this.#key(file, piece);
      const show = (bytes: number, total: number) =>
        report({ file: file.file, received: before + bytes, total: sum || total, cached: !isDownloaded });
      let bytes = await read(store, key);
      if (!bytes) {
        isDownloaded = true;
        bytes = await this.#download(name, file, piece, store, show, { report, signal, mustStore });
        if (!piece.sha256) whole = bytes;
      }
      received += bytes.length;
      show(bytes.length, bytes.length);
      isGood &&= await accept(builder.push(bytes));
    }
    const contents = isGood ? await builder.finish().catch(() => undefined) : undefined;
    return { isDownloaded, ...(contents && { contents }), ...(whole && { undivided: whole }) };
  }

  /** Downloads a file or a part of it. Parts are checked and stored. */
  async #download(
    name: string,
    file: BundleFile,
    piece: Piece,
    store: Cache | undefined,
    show: (received: number, total: number) => void,
    options: FileOptions,
  ): Promise<Bytes> {
    const key = this.#key(file, piece);
    const bytes = piece.sha256 ? piece.bytes : file.bytes;
    const source = { url: this.#url(name, piece.file), file: file.file, bytes, key };
    for (let attempt = 0; attempt < MAX_DOWNLOADS; attempt++) {
      const received = await download(source, store, show, options.signal);
      if (!piece.sha256) return received;
      const isValid = (await this.#sha256(received)) === piece.sha256;
      await deletePieces(store, key);
      if (!isValid) continue;
      await this.#storeFile(store, key, received, options);
      return received;
    }
    throw corruptFile(piece.file);
  }

  /** Deletes what does not add up to the file: the parts that have changed in the storage, or all if they come anew. */
  async #deleteInvalid(file: BundleFile, pieces: Piece[], store: Cache | undefined, all: boolean): Promise<void> {
    for (const piece of pieces) {
      const key = this.#key(file, piece);
      const stored = all ? undefined : await read(store, key);
      if (!stored || (await this.#sha256(stored)) !== piece.sha256) await store?.delete(key);
    }
  }

  /** A small file: the server's, which is stored if it is valid, or the stored one without a network connection. */
  async #latest(
    url: string,
    store: Cache | undefined,
    what: string,
    parse: (text: string) => unknown,
  ): Promise<Bytes | undefined> {
    const response = await fetch(url, { cache: "no-cache" }).catch(() => undefined);
    let bytes: Bytes | undefined;
    if (response?.ok)
      bytes = await response.arrayBuffer().then(
        (buffer) => new Uint8Array(buffer),
        () => undefined,
      );
    const isNew = !!bytes;
    if (!bytes) {
      bytes = await read(store, url);
      if (!bytes && !response) throw unreachable(what);
    }
    if (!bytes || !parse(text(bytes))) return undefined;
    if (isNew) await this.#storeFile(store, url, bytes, {});
    return bytes;
  }

  /** The size in bytes of a file on the server; 0 if unknown. */
  async #remoteSize(name: string, file: BundleFile): Promise<number> {
    const response = await fetch(this.#url(name, file.file), { method: "HEAD" }).catch(() => undefined);
    return Number((response?.ok && response.headers.get("Content-Length")) || 0) || (file.bytes ?? 0);
  }

  async #storeFile(
    store: Cache | undefined,
    key: string,
    bytes: Bytes,
    { mustStore }: Pick<FileOptions, "mustStore">,
  ): Promise<void> {
    if (await put(store, key, bytes)) return;
    if (mustStore) throw new EngineError("storage", "The browser has no room to keep it.");
    this.note = store
      ? "The browser's storage is full: the model works now, but will be downloaded again on the next visit; " +
        "free some space or clear unused models."
      : "The browser stores nothing for this page (insecure address or private window): " +
        "the model will be downloaded again on the next visit.";
  }

  #url(name: string, file: string): string {
    return new URL(`${name}/${file}`, this.#base).href;
  }

  #key(file: BundleFile, piece?: Piece): string {
    const part = piece?.sha256 ? `/${piece.sha256}` : "";
    return new URL(`sha256/${file.sha256}${part}`, this.#base).href;
  }
}

/** A file that is not split. */
function undivided({ file }: BundleFile): Piece {
  return { file };
}

/** Whether a part is valid gzip data, if it is any; passes on other errors. */
function accept(pushed: Promise<void>): Promise<boolean> {
  return pushed.then(
    () => true,
    (error: unknown) => {
      if (error instanceof EngineError) throw error;
      return false;
    },
  );
}

/** Opens the storage; `undefined` if there is none. */
export async function openStore(): Promise<Cache | undefined> {
  return globalThis.caches ? caches.open(CACHE_NAME).catch(() => undefined) : undefined;
}

async function read(store: Cache | undefined, key: string): Promise<Bytes | undefined> {
  const stored = await store?.match(key);
  return stored?.arrayBuffer().then(
    (buffer) => new Uint8Array(buffer),
    () => undefined,
  );
}

function text(bytes: Bytes): string {
  return new TextDecoder().decode(bytes);
}

function contentLength(stored: Response): number {
  return Number(stored.headers.get("Content-Length") ?? 0);
}

/** Runs `work` under a lock shared by the tabs of this origin, if the browser supports locks. */
async function withLock<T>(name: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  if (!globalThis.navigator?.locks) return work();
  return navigator.locks.request(name, signal ? { signal } : {}, work).catch((error: unknown) => {
    throw signal?.aborted ? cancelled() : error;
  }) as Promise<T>;
}
