// The engine's worker. Pictures are located one after the other, also while another model is on its way.
import type { BundleFile } from "./manifest";
import { Core, type Opened, Refused } from "./model-wasm";
import type { Call, Reply, Request, Setup } from "./protocol";
import { type Backend, Networks, RuntimeLost, backends, start } from "./onnx-sessions";
import { tensors } from "./preprocess";
import { ModelStore, type Report } from "./model-store";
import { type Answer, type BundleName, EngineError, type Status } from "./types";

const NAMES: BundleName[] = ["pocket", "desktop"];
/** The World map's scale in metres, as `model/src/score.rs` has it. */
const WORLD_SCALE_M = 14_916_862;

/** A bundle that is ready to answer. */
interface Loaded {
  core: Core;
  opened: Opened;
  networks: Networks;
}

class Answerer {
  readonly #setup: Setup;
  readonly #store: ModelStore;
  #module: Promise<WebAssembly.Module> | undefined;
  #loaded: Loaded | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(setup: Setup) {
    this.#setup = setup;
    this.#store = new ModelStore(setup.bundles, async (bytes) => {
      if (!globalThis.crypto.subtle) return (await this.#core()).sha256(bytes); // an insecure address
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
      return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    });
  }

  async answer(call: Call, report: Report): Promise<unknown> {
    switch (call.name) {
      case "load":
        return this.#load(call.bundle, report);
      case "locate":
        return this.#alone(() => this.#locate(call.views));
      case "bundles":
        return this.#bundles();
      case "clear":
        return this.#store.clear();
      case "score": {
        const { guess, truth, scaleM = WORLD_SCALE_M } = call;
        return (await this.#core()).score(guess.lat, guess.lng, truth.lat, truth.lng, scaleM);
      }
    }
  }

  async #load(name: BundleName, report: Report): Promise<Status> {
    this.#store.note = null;
    const found = await this.#store.manifest(name);
    if (!found) throw new EngineError("network", `This page's server does not offer the model "${name}": choose another one.`);
    const { manifest } = found;
    const id = `${manifest.name}@${manifest.version}`;
    if (this.#loaded?.opened.id !== id) {
      const file = (of: BundleFile) => this.#store.file(name, of, report);
      const { adapter, activations } = manifest.encoder;
      const { backend } = this.#setup;
      // "whole" is the former name of "exact-conv".
      const isExact = activations === "exact-conv" || activations === "whole";
      const usable = backend ? [backend] : await backends(!isExact);
      // Beside the files; whether that went well is asked when there are networks for it.
      start(usable[0]!).catch(() => undefined);
      const core = await this.#core();
      const [cells, head, learned, downloaded] = await Promise.all([
        file(manifest.cells),
        file(manifest.head),
        adapter && file(adapter),
        file(manifest.encoder),
      ]);
      const opened = used(() => core.open(found.bytes, cells));
      const encoder = (on: Backend) => used(() => core.encoder(downloaded, learned, on !== "webgpu"));
      await this.#alone(async () => {
        const networks = await this.#networks(usable, encoder, head, opened);
        await this.#loaded?.networks.release();
        this.#loaded = { core, opened, networks };
      });
      await this.#store.tidy().catch(() => undefined); // it can be done another time
    }
    const { backend, threads } = this.#loaded!.networks;
    return { bundle: name, backend, threads, note: this.#store.note };
  }

  /** What uses networks does so one after the other: the runtime has one memory for all. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** The networks on the first of the backends that can compute them. */
  async #networks(usable: Backend[], encoder: (on: Backend) => Uint8Array, head: Uint8Array, opened: Opened): Promise<Networks> {
    for (;;) {
      const [backend] = usable;
      const isChoosy = usable.length > 1;
      try {
        return await Networks.load(backend!, encoder(backend!), head, opened, isChoosy);
      } catch (error) {
        if (!isChoosy) throw error;
        usable.shift();
      }
    }
  }

  async #locate(views: (Blob | ImageBitmap)[]): Promise<Answer> {
    const ms = { preprocess: 0, encode: 0, head: 0, decode: 0, total: 0 };
    const began = performance.now();
    let at = began;
    const lap = (part: keyof typeof ms) => {
      const now = performance.now();
      ms[part] += now - at;
      at = now;
    };
    if (!this.#loaded) throw new EngineError("network", "No model is loaded yet: load one first.");
    if (views.length === 0) throw new EngineError("unreadable", "There is no picture: take or pick one.");
    const { core, opened, networks } = this.#loaded;
    const logits = new Float32Array(views.length * opened.cells);
    for (const [row, view] of views.entries()) {
      const squares = await tensors(core, view);
      lap("preprocess");
      const outputs = new Float32Array(opened.squares * opened.dim);
      const area = 3 * opened.size ** 2;
      for (let square = 0; square < opened.squares; square++) {
        outputs.set(await networks.encode(squares.subarray(square * area, (square + 1) * area)), square * opened.dim);
      }
      lap("encode");
      logits.set(await networks.logits(core.embedding(outputs)), row * opened.cells);
      lap("head");
    }
    const answer = core.answer(logits);
    lap("decode");
    ms.total = at - began;
    return { ...answer, ms };
  }

  async #bundles() {
    const offered = [];
    for (const name of NAMES) {
      const manifest = (await this.#store.manifest(name))?.manifest;
      if (manifest) offered.push({ name, version: manifest.version, ...(await this.#store.size(name, manifest)) });
    }
    return offered;
  }

  /** A core of its own for each use that may leave it large or with another bundle open. */
  async #core(): Promise<Core> {
    this.#module ??= compiled(new URL("./landfall.wasm", import.meta.url));
    try {
      return new Core(await this.#module);
    } catch (error) {
      this.#module = undefined; // the next call tries again
      throw error;
    }
  }
}

async function compiled(address: URL): Promise<WebAssembly.Module> {
  const bytes = await fetch(address).then((response) => (response.ok ? response.arrayBuffer() : undefined), () => undefined);
  if (!bytes) throw new EngineError("network", "The part that decides cannot be fetched: check the connection and try again.");
  return WebAssembly.compile(bytes);
}

/** What the core makes of a bundle's files, whose bytes are right by now. */
function used<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const why = `The model is not one that this page knows (${error.message})`;
    throw new EngineError("corrupt", `${why}: load the page again for a newer one.`);
  }
}

const scope = self as unknown as {
  postMessage(message: Reply): void;
  onmessage: ((event: MessageEvent<Setup | Request>) => void) | null;
};
let answerer: Answerer | undefined;

scope.onmessage = async ({ data }) => {
  if ("bundles" in data) {
    answerer = new Answerer(data);
    return;
  }
  const { id, call } = data;
  try {
    const result = await answerer?.answer(call, (progress) => scope.postMessage({ id, progress }));
    scope.postMessage({ id, result });
  } catch (error) {
    scope.postMessage({ id, error: told(error), spent: error instanceof RuntimeLost });
  } finally {
    if (call.name === "locate") call.views.forEach((view) => view instanceof Blob || view.close());
  }
};

function told(error: unknown): { kind: EngineError["kind"]; message: string } {
  if (error instanceof EngineError) return { kind: error.kind, message: error.message };
  const why = error instanceof Error ? error.message : String(error);
  return error instanceof RangeError || /memory/i.test(why)
    ? { kind: "no-memory", message: "There is not enough memory for this: close other tabs, or take a smaller picture." }
    : { kind: "unreadable", message: `This did not work (${why}): try another picture, or load the page again.` };
}
