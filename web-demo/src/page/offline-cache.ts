// The service worker's side of the page: registered, asked to fill its store, and what happens when a new version comes.

/** Milliseconds that a first visit waits for the service worker, so that what is fetched next is kept for flights. */
const PATIENCE_MS = 4000;
/** Milliseconds after which the rest is fetched: first comes what the person does. */
const REST_MS = 3000;

export class Offline extends EventTarget {
  /** All that the page needs is kept on this device. */
  ready = false;

  /** What was kept on an earlier visit serves this page. */
  get serves(): boolean {
    return !!(navigator.serviceWorker as ServiceWorkerContainer | undefined)?.controller;
  }

  /** Registers the service worker; settles when it serves this page, or when that takes too long or cannot be. */
  async start(onUpdate: (use: () => void) => void): Promise<void> {
    const workers = navigator.serviceWorker as ServiceWorkerContainer | undefined;
    if (!workers || !import.meta.env.PROD) return;
    // A page that has a worker already is loaded anew when the next one takes over, and only then.
    const updating = workers.controller !== null;
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
          if (next.state === "installed" && updating) offer(next);
        });
      });
      if (registration.waiting && updating) offer(registration.waiting);
    } catch {
      // A host without sw.js, or storage switched off: the page works, with a network.
      return;
    }
    function offer(next: ServiceWorker): void {
      onUpdate(() => {
        workers!.addEventListener("controllerchange", () => location.reload(), { once: true });
        next.postMessage("take over");
      });
    }
    if (updating) return;
    await Promise.race([
      new Promise<void>((done) => workers.addEventListener("controllerchange", () => done(), { once: true })),
      new Promise((done) => setTimeout(done, PATIENCE_MS)),
    ]);
  }

  /** Has the rest fetched and kept: what is not needed at once, such as pictures to play with, and what computes. */
  fill(gpu: boolean): void {
    const workers = navigator.serviceWorker as ServiceWorkerContainer | undefined;
    const ask = () => void workers?.ready.then(({ active }) => active?.postMessage(gpu ? "fill for gpu" : "fill"));
    setTimeout(ask, REST_MS);
  }
}
