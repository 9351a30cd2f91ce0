// The service worker: caches the page for offline use. Models are cached by the engine, not here.

export {};

declare const self: ServiceWorkerGlobalScope;

/** Written by build/service-worker.ts: version of the build, files to cache on installation, files to cache later. */
declare const CACHE_MANIFEST: { version: string; precache: string[]; onDemand: string[] };

const CACHE_PREFIX = "landfall-page-";
const CACHE_NAME = CACHE_PREFIX + CACHE_MANIFEST.version;
const urlOf = (file: string) => new URL(file, self.registration.scope).href;
const PRECACHE = CACHE_MANIFEST.precache.map(urlOf);
/** The WebAssembly of ONNX Runtime. It is large, and only some devices need the WebGPU build. */
const ORT_RUNTIME = /\/ort-[^/]+\.wasm$/;
const WEBGPU_RUNTIME = /\.jspi-[^/]+$/;
const FILE_URLS = new Set([...PRECACHE, ...CACHE_MANIFEST.onDemand.map(urlOf)]);

self.addEventListener("install", (event) => event.waitUntil(cacheAll(PRECACHE)));

// Errors are ignored: the next version cleans up, and this one can serve pages anyway.
self.addEventListener("activate", (event) =>
  event.waitUntil(
    migrateOldCaches()
      .catch(() => undefined)
      .then(() => self.clients.claim()),
  ),
);

self.addEventListener("message", (event) => {
  // Pages of earlier versions send "take over".
  if (event.data === "skip-waiting" || event.data === "take over") void self.skipWaiting();
  if (event.data.fill) {
    const { source, data } = event;
    event.waitUntil(fillCache(data.fill.webgpu).then((complete) => complete && source?.postMessage("filled")));
  }
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  url.search = url.hash = "";
  if (request.method !== "GET") return;
  const file = url.href === urlOf("./") ? urlOf("index.html") : url.href;
  if (FILE_URLS.has(file)) event.respondWith(respond(file, request));
});

/** Responds from the cache, or from the network and caches the response. */
async function respond(url: string, request: Request): Promise<Response> {
  const cache = await caches.open(CACHE_NAME);
  const cached = await cache.match(url);
  // Earlier versions of this worker stored redirected responses.
  if (cached) return withoutRedirect(cached);
  const response = withoutRedirect(await fetch(request));
  // Without room for it in the cache, the page needs a connection, but works.
  if (response.status === 200 && !isSubstitute(url, response))
    await cache.put(url, response.clone()).catch(() => undefined);
  return response;
}

/**
 * The same response as if it had been at the requested address. Browsers refuse a redirected response as a page, and
 * many hosts redirect `index.html` to the folder.
 */
function withoutRedirect(response: Response): Response {
  if (!response.redirected) return response;
  const { body, status, statusText, headers } = response;
  return new Response(body, { status, statusText, headers });
}

/** Whether a host or the login page of a network answered with a page in place of a file. */
function isSubstitute(url: string, response: Response): boolean {
  return !url.endsWith(".html") && /^text\/html\b/i.test(response.headers.get("Content-Type") ?? "");
}

/**
 * Caches files that are not cached yet. Files with a hash in their name are copied from the cache of an earlier
 * version.
 */
async function cacheAll(urls: string[]): Promise<void> {
  const cache = await caches.open(CACHE_NAME);
  for (const url of urls) {
    if (await cache.match(url)) continue;
    const isHashed = url.includes("/assets/");
    const old = isHashed ? await caches.match(url) : undefined;
    const response = withoutRedirect(old ?? (await fetch(url, { cache: isHashed ? "default" : "no-cache" })));
    if (!response.ok || isSubstitute(url, response)) throw new Error(`${url}: ${response.status}`);
    await cache.put(url, response);
  }
}

/** Caches the remaining files, the WebGPU runtime only if it is needed. Returns whether the page works offline now. */
async function fillCache(webgpu: boolean): Promise<boolean> {
  try {
    await cacheAll([...FILE_URLS].filter((url) => webgpu || !ORT_RUNTIME.test(url) || !WEBGPU_RUNTIME.test(url)));
    return true;
  } catch {
    // Losing the connection is not an error: the next visit retries.
    return false;
  }
}

/** Moves files that are still valid from the caches of earlier versions to this one and deletes those caches. */
async function migrateOldCaches(): Promise<void> {
  const cache = await caches.open(CACHE_NAME);
  for (const name of await caches.keys()) {
    if (!name.startsWith(CACHE_PREFIX) || name === CACHE_NAME) continue;
    const old = await caches.open(name);
    for (const request of await old.keys()) {
      const isValid = FILE_URLS.has(request.url) && request.url.includes("/assets/") && !(await cache.match(request));
      const response = isValid ? await old.match(request) : undefined;
      if (response) await cache.put(request, response);
    }
    await caches.delete(name);
  }
}
