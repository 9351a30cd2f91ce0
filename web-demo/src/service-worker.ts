// The service worker: keeps the page for when there is no network. The models are kept by the engine, not here.

export {};

declare const self: ServiceWorkerGlobalScope;

/** What the build made (build/service-worker.ts writes it): a version, what is needed at once, and what may come later. */
declare const FILES: { version: string; first: string[]; later: string[] };

const PREFIX = "landfall-page-";
const NAME = PREFIX + FILES.version;
const at = (file: string) => new URL(file, self.registration.scope).href;
const FIRST = FILES.first.map(at);
/** The runtimes of the networks. They are large, and only some devices need that for graphics processors. */
const RUNTIME = /\/ort-[^/]+\.wasm$/;
const FOR_GPU = /\.jspi-[^/]+$/;
const KNOWN = new Set([...FIRST, ...FILES.later.map(at)]);

self.addEventListener("install", (event) => event.waitUntil(keep(FIRST)));

// What cannot be tidied now is tidied by the next version: pages are served by this one all the same.
self.addEventListener("activate", (event) => event.waitUntil(tidy().catch(() => undefined).then(() => self.clients.claim())));

self.addEventListener("message", (event) => {
  if (event.data === "take over") void self.skipWaiting();
  if (event.data === "fill" || event.data === "fill for gpu") {
    const { source, data } = event;
    event.waitUntil(fill(data === "fill for gpu").then((whole) => whole && source?.postMessage("filled")));
  }
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = new URL(request.url);
  address.search = address.hash = "";
  if (request.method !== "GET") return;
  const page = address.href === at("./") ? at("index.html") : address.href;
  if (KNOWN.has(page)) event.respondWith(answer(page, request));
});

/** From the store, or from the network and then kept. */
async function answer(address: string, request: Request): Promise<Response> {
  const store = await caches.open(NAME);
  const kept = await store.match(address);
  if (kept) return kept;
  const fresh = await fetch(request);
  if (fresh.status === 200) await store.put(address, fresh.clone());
  return fresh;
}

/** Keeps files that are not kept yet; from the last version's store where their names say that they are the same. */
async function keep(addresses: string[]): Promise<void> {
  const store = await caches.open(NAME);
  for (const address of addresses) {
    if (await store.match(address)) continue;
    const named = address.includes("/assets/");
    const old = named ? await caches.match(address) : undefined;
    const response = old ?? (await fetch(address, { cache: named ? "default" : "no-cache" }));
    if (!response.ok) throw new Error(`${address}: ${response.status}`);
    await store.put(address, response);
  }
}

/** Keeps the rest, of the runtimes what is needed: not every model is for graphics processors. `true` when the page can do without a network from now on. */
async function fill(gpu: boolean): Promise<boolean> {
  try {
    await keep([...KNOWN].filter((address) => gpu || !RUNTIME.test(address) || !FOR_GPU.test(address)));
    return true;
  } catch {
    // A network that goes away in between is no fault: the next visit tries again.
    return false;
  }
}

/** Once this version serves the page: what of the last one is still good moves over, the rest goes. */
async function tidy(): Promise<void> {
  const store = await caches.open(NAME);
  for (const name of await caches.keys()) {
    if (!name.startsWith(PREFIX) || name === NAME) continue;
    const old = await caches.open(name);
    for (const request of await old.keys()) {
      const kept = KNOWN.has(request.url) && request.url.includes("/assets/") && !(await store.match(request));
      const response = kept ? await old.match(request) : undefined;
      if (response) await store.put(request, response);
    }
    await caches.delete(name);
  }
}
