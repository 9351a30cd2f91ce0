// What opening a bundle computes, stored for the next visit: the prepared network, and which backends have computed the
// known answer. It is used only by the code that computed it, for the same bundle.json.
import { type Bytes, put } from "./download";
import { openStore } from "./model-store";
import { nativeSha256 } from "./support";

const DIGEST_HEADER = "Landfall-SHA256";

/** The stored results for one bundle. */
export class OpenedBundle {
  readonly #store: Cache;
  /** URL of the results for all versions of the bundle. */
  readonly #all: string;
  /** URL of the results for this version and this code. */
  readonly #own: string;

  private constructor(store: Cache, all: string, id: string) {
    this.#store = store;
    this.#all = all;
    this.#own = `${all}${id}/`;
  }

  /**
   * Opens the results for a bundle, and deletes those of other versions or code. `base` is the URL of the folder of all
   * bundles, `code` the SHA-256 of the model code. `undefined` without storage.
   */
  static async open(base: string, name: string, manifest: Bytes, code: string): Promise<OpenedBundle | undefined> {
    const store = await openStore();
    if (!store) return undefined;
    const id = `${code.slice(0, 32)}-${(await hashOf(manifest)).slice(0, 32)}`;
    const opened = new OpenedBundle(store, new URL(`opened/${name}/`, base).href, id);
    for (const { url } of await store.keys()) {
      if (url.startsWith(opened.#all) && !url.startsWith(opened.#own)) await store.delete(url);
    }
    return opened;
  }

  /** The network as `storeNetwork` got it. */
  async network(): Promise<Bytes | undefined> {
    const key = `${this.#own}network`;
    const stored = await this.#store.match(key);
    const bytes = stored && new Uint8Array(await stored.arrayBuffer().catch(() => new ArrayBuffer(0)));
    if (!bytes || (await hashOf(bytes)) === stored.headers.get(DIGEST_HEADER)) return bytes;
    await this.#store.delete(key); // has changed in the storage
    return undefined;
  }

  /** Stores the network if there is room for it. */
  async storeNetwork(bytes: Bytes): Promise<void> {
    await put(this.#store, `${this.#own}network`, bytes, { [DIGEST_HEADER]: await hashOf(bytes) });
  }

  /** Whether `backend` has computed the known answer in this version of the browser, with this runtime. */
  async isVerified(backend: string, runtime: string): Promise<boolean> {
    const stored = await this.#store.match(`${this.#own}${backend}`);
    return (await stored?.text()) === environment(runtime);
  }

  async storeVerified(backend: string, runtime: string): Promise<void> {
    await put(this.#store, `${this.#own}${backend}`, new TextEncoder().encode(environment(runtime)));
  }
}

/** What the result of a computation depends on besides the networks. */
function environment(runtime: string): string {
  return `${navigator.userAgent} ${runtime}`;
}

/** Results are stored at secure addresses only, where the browser computes hashes. */
async function hashOf(bytes: Bytes): Promise<string> {
  return (await nativeSha256(bytes)) ?? "";
}
