// Registers the service worker, asks it to fill its cache and handles new versions of the page.

/**
 * Maximum time in milliseconds that a first visit waits for the service worker, so that it can cache later requests.
 */
const WORKER_TIMEOUT_MS = 4000;
/** Delay in milliseconds before the remaining files are downloaded, to give priority to the user's actions. */
const FILL_DELAY_MS = 3000;

export class OfflineCache extends EventTarget {
  /** Whether all files of the page are cached. */
  ready = false;

  /** Whether a service worker of an earlier visit serves this page. */
  get isControlled(): boolean {
    return !!(navigator.serviceWorker as ServiceWorkerContainer | undefined)?.controller;
  }

  /** Registers the service worker. Resolves when it serves this page, has failed or takes too long. */
  async start(onUpdate: (activate: () => void) => void): Promise<void> {
    const workers = navigator.serviceWorker as ServiceWorkerContainer | undefined;
    if (!workers || !import.meta.env.PROD) return;
    // Only a page that already has a worker is reloaded when a new one takes over.
    const hasWorker = workers.controller !== null;
    workers.addEventListener("message", ({ data }: MessageEvent<unknown>) => {
      if (data !== "filled") return;
      this.ready = true;
      this.dispatchEvent(new Event("change"));
    });
    try {
      const registration = await workers.register("sw.js");
      registration.addEventListener("updatefound", () => {
        const next = registration.installing;
        next?.addEventListener("statechange", () => {
          if (next.state === "installed" && hasWorker) offerUpdate(next);
        });
      });
      if (registration.waiting && hasWorker) offerUpdate(registration.waiting);
    } catch {
      // No sw.js on this host, or storage disabled: the page works, but not offline.
      return;
    }
    function offerUpdate(next: ServiceWorker): void {
      onUpdate(() => {
        workers!.addEventListener("controllerchange", () => location.reload(), { once: true });
        next.postMessage("skip-waiting");
      });
    }
    if (hasWorker) return;
    await Promise.race([
      new Promise<void>((done) => workers.addEventListener("controllerchange", () => done(), { once: true })),
      new Promise((done) => setTimeout(done, WORKER_TIMEOUT_MS)),
    ]);
  }

  /** Asks the service worker to cache the remaining files, such as photos and the inference runtime. */
  fill(webgpu: boolean): void {
    const workers = navigator.serviceWorker as ServiceWorkerContainer | undefined;
    const request = () => void workers?.ready.then(({ active }) => active?.postMessage({ fill: { webgpu } }));
    setTimeout(request, FILL_DELAY_MS);
  }
}
