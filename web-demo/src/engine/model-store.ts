// The models' files: from the browser's storage or from our own origin, checked by sha256 either way.
//
// A download that breaks off leaves parts behind from which the next one goes on. A lock of the file's name lets one tab
// at a time fetch it; the other one then finds it stored. Where there is no storage (an insecure origin, a private
// window) all works without.
import { type BundleFile, type Manifest, damaged, filesOf, parseManifest } from "./manifest";
import { EngineError, type Progress } from "./types";

const STORE = "landfall-models";
/** Bytes after which a part is stored. */
const PART = 4 << 20;

type Bytes = Uint8Array<ArrayBuffer>;
export type Report = (progress: Progress) => void;
export type Sha256 = (bytes: Bytes) => Promise<string>;

export class ModelStore {
  readonly #base: URL;
  readonly #sha256: Sha256;
  /** A sentence when the storage would not take a file, else `null`. */
  note: string | null = null;

  /** `base` is where the bundles lie, a folder each. */
  constructor(base: string, sha256: Sha256) {
    this.#base = new URL(base);
    this.#sha256 = sha256;
  }

  /** A bundle's description, the newest there is; without a network the stored one. */
  async manifest(name: string): Promise<{ manifest: Manifest; bytes: Bytes } | undefined> {
    const address = this.#address(name, "bundle.json");
    const store = await open();
    const response = await fetch(address, { cache: "no-cache" }).catch(() => undefined);
    let bytes: Bytes | undefined;
    if (response?.ok) bytes = await response.arrayBuffer().then((buffer) => new Uint8Array(buffer), () => undefined);
    if (!bytes) {
      const stored = await store?.match(address);
      if (stored) bytes = new Uint8Array(await stored.arrayBuffer());
      else if (!response) throw unreachable("The list of models");
    }
    const manifest = bytes && parseManifest(new TextDecoder().decode(bytes));
    if (!bytes || !manifest) return undefined;
    if (response?.ok) await this.#keep(store, address, bytes);
    return { manifest, bytes };
  }

  /** Bytes of a bundle's files and whether all of them are stored. */
  async size(name: string, manifest: Manifest): Promise<{ bytes: number; cached: boolean }> {
    const store = await open();
    let bytes = 0;
    let cached = true;
    for (const file of filesOf(manifest)) {
      const stored = await store?.match(this.#key(file));
      if (!stored) cached = false;
      bytes += stored ? length(stored) : (file.bytes ?? (await this.#ask(name, file)));
    }
    return { bytes, cached };
  }

  /** The contents of a bundle's file. */
  async file(name: string, file: BundleFile, report: Report): Promise<Bytes> {
    const key = this.#key(file);
    return locked(key, async () => {
      const store = await open();
      const stored = await store?.match(key);
      if (stored) {
        const bytes = await read(stored);
        if (bytes && (await this.#sha256(bytes)) === file.sha256) {
          report({ file: file.file, received: bytes.length, total: bytes.length, cached: true });
          return bytes;
        }
        await store?.delete(key);
      }
      const address = this.#address(name, file.file);
      for (let attempt = 0; attempt < 2; attempt++) {
        const bytes = await this.#download(address, file, store, report);
        const isRight = (await this.#sha256(bytes)) === file.sha256;
        if (isRight) await this.#keep(store, key, bytes);
        await forgetParts(store, key);
        if (isRight) return bytes;
      }
      throw damaged(file.file);
    });
  }

  /** Forgets files of bundles that were replaced by newer ones. */
  async tidy(): Promise<void> {
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
      if (globalThis.caches) await caches.delete(STORE);
    } catch {
      const message = "The browser does not let its storage be cleared from here: clear this site's data in its settings.";
      throw new EngineError("storage", message);
    }
  }

  /** All of a file, going on after the parts of it that are stored. */
  async #download(address: string, file: BundleFile, store: Cache | undefined, report: Report): Promise<Bytes> {
    const arrived = new Arrived(file.bytes);
    const key = this.#key(file);
    let part = 0;
    for (let stored; (stored = await store?.match(partOf(key, part))); part++) {
      arrived.push(new Uint8Array(await stored.arrayBuffer()));
    }
    const tell = (total: number) => report({ file: file.file, received: arrived.length, total, cached: false });
    for (;;) {
      const before = arrived.length;
      const { total, whole } = await this.#receive(address, arrived, tell, async (from) => {
        if (from === 0) {
          await forgetParts(store, key); // of before, when the server began anew
          part = 0;
        }
        // What came is kept as it comes; when that fails it is only not there to go on from.
        const kept = await put(store, partOf(key, part), arrived.bytes.slice(from));
        if (kept) part++;
        return kept;
      });
      if (whole) return arrived.bytes;
      if (arrived.length > before) continue; // as long as something comes
      const [have, all] = [arrived.length, Math.max(total, file.bytes ?? 0)].map((bytes) => (bytes / 1e6).toFixed(1));
      throw have === "0.0" ? unreachable(`The model's ${file.file}`) : brokenOff(file.file, have ?? "", all ?? "");
    }
  }

  /** One request for what is missing. Says how much there is in all, and whether that has arrived. */
  async #receive(
    address: string,
    arrived: Arrived,
    tell: (total: number) => void,
    keep: (from: number) => Promise<boolean>,
  ): Promise<{ total: number; whole: boolean }> {
    let total = 0;
    let kept = arrived.length;
    try {
      const headers: HeadersInit = kept > 0 ? { Range: `bytes=${kept}-` } : {};
      const response = await fetch(address, { headers, cache: "no-store" });
      const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "");
      const goesOn = response.status === 206 && Number(range?.[1]) === kept;
      if (response.status === 416 && kept > 0) return { total: kept, whole: true }; // nothing is missing: the hash will tell
      if (!response.ok || !response.body) return { total, whole: false };
      if (!goesOn) arrived.length = kept = 0;
      const encoded = response.headers.has("Content-Encoding");
      total = goesOn ? Number(range?.[2]) : encoded ? 0 : Number(response.headers.get("Content-Length") ?? 0);
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        arrived.push(value);
        tell(Math.max(total, arrived.expected, arrived.length));
        if (arrived.length - kept >= PART && (await keep(kept))) kept = arrived.length;
      }
      const whole = arrived.length >= total && arrived.length >= arrived.expected;
      if (!whole && arrived.length > kept) await keep(kept);
      return { total, whole };
    } catch {
      if (arrived.length > kept) await keep(kept);
      return { total, whole: false };
    }
  }

  /** The length of a file that is not stored, in bytes; 0 when the server does not say. */
  async #ask(name: string, file: BundleFile): Promise<number> {
    const response = await fetch(this.#address(name, file.file), { method: "HEAD" }).catch(() => undefined);
    return Number((response?.ok && response.headers.get("Content-Length")) || 0);
  }

  async #keep(store: Cache | undefined, key: string, bytes: Bytes): Promise<void> {
    if (await put(store, key, bytes)) return;
    this.note = store
      ? "This browser's storage has no room for the model: it works now and is downloaded again next time; free some space or clear models that are not used."
      : "This browser keeps nothing for this page (an insecure address or a private window): the model is downloaded again next time.";
  }

  #address(name: string, file: string): string {
    return new URL(`${name}/${file}`, this.#base).href;
  }

  #key(file: BundleFile): string {
    return new URL(`sha256/${file.sha256}`, this.#base).href;
  }
}

/** Bytes that come piece by piece, in one buffer where it is known how many there will be. */
class Arrived {
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

  push(piece: Uint8Array) {
    const length = this.length + piece.length;
    if (length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#buffer.length));
      larger.set(this.bytes);
      this.#buffer = larger;
    }
    this.#buffer.set(piece, this.length);
    this.length = length;
  }
}

/** The storage, where there is one. */
async function open(): Promise<Cache | undefined> {
  return globalThis.caches ? caches.open(STORE).catch(() => undefined) : undefined;
}

async function put(store: Cache | undefined, key: string, bytes: Bytes): Promise<boolean> {
  const headers = { "Content-Type": "application/octet-stream", "Content-Length": String(bytes.length) };
  return store ? store.put(key, new Response(bytes, { headers })).then(() => true, () => false) : false;
}

async function read(stored: Response): Promise<Bytes | undefined> {
  return stored.arrayBuffer().then((buffer) => new Uint8Array(buffer), () => undefined);
}

function length(stored: Response): number {
  return Number(stored.headers.get("Content-Length") ?? 0);
}

function partOf(key: string, part: number): string {
  return `${key}.${part}`;
}

async function forgetParts(store: Cache | undefined, key: string): Promise<void> {
  for (let part = 0; await store?.delete(partOf(key, part)); part++);
}

/** Runs alone among this origin's tabs, where the browser can see to that. */
async function locked<T>(name: string, work: () => Promise<T>): Promise<T> {
  return globalThis.navigator?.locks ? await navigator.locks.request(name, work) : work();
}

function unreachable(what: string): EngineError {
  return new EngineError("network", `${what} cannot be fetched: check the connection and try again.`);
}

function brokenOff(file: string, have: string, all: string): EngineError {
  const message = `The model's ${file} stopped arriving after ${have} of ${all} MB: check the connection and try again, it goes on from there.`;
  return new EngineError("network", message);
}
