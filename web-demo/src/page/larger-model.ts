// Fetches the larger model in the background, once the small one is ready: at once on an unmetered connection; after
// the first answer where the browser does not say what the connection is; otherwise only at the user's request.

import type { BundleName } from "../engine/types";
import { EngineError } from "../engine/types";
import { announce, notify } from "./layout";
import { errorMessage } from "./labels";
import type { ModelController } from "./model";
import { getPreference, setPreference } from "./preferences";

/** Why the larger model is not being downloaded. */
export type Reason = "paused" | "metered" | "no-room" | "failed" | "not-yet";

export type LargerState =
  | { kind: "none" }
  | { kind: "offered"; reason: Reason; name: BundleName; bytes: number; cached: boolean }
  | { kind: "loading"; name: BundleName; received: number; total: number; cached: boolean }
  /** The connection was lost; the download continues when it is back. */
  | { kind: "waiting"; name: BundleName; bytes: number };

/** Pause before the next attempt after the connection was lost, in milliseconds. Doubled after each attempt. */
const RETRY_MS = 5000;
const MAX_RETRY_MS = 300_000;

/** The part of the Network Information API that is used. Not every browser has it. */
interface Connection extends EventTarget {
  saveData?: boolean;
  type?: string;
}

/** Dispatches `change` when `state` changes. */
export class LargerModel extends EventTarget {
  state: LargerState = { kind: "none" };
  private offer: { name: BundleName; bytes: number; cached: boolean } | null = null;
  private download: AbortController | null = null;
  private retryMs = RETRY_MS;
  private readonly connection = (navigator as { connection?: Connection }).connection;

  constructor(private readonly model: ModelController) {
    super();
    model.addEventListener("change", () => {
      if (model.state.kind === "ready" && model.state.status.bundle === "pocket") void this.consider();
    });
    model.addEventListener("answer", () => this.isOffered("not-yet") && this.startIfAllowed());
    this.connection?.addEventListener("change", () => this.onConnectionChange());
    addEventListener("online", () => this.state.kind === "waiting" && this.startIfAllowed());
    addEventListener("pagehide", () => this.unmark());
    // Another tab of this page.
    addEventListener("storage", ({ key, newValue }) => {
      if (key === "landfall-larger" && newValue === "paused") this.stop();
    });
  }

  /** The model that the user chose, if any: `pocket` is not replaced by a larger one. */
  get chosen(): BundleName | null {
    const chosen = getPreference("landfall-bundle");
    // Earlier versions stored "pocket" without the user's choice.
    if (chosen === "pocket-only") return "pocket";
    return chosen === "phone" || chosen === "desktop" ? chosen : null;
  }

  /** Uses this model from now on. */
  async choose(name: BundleName): Promise<void> {
    const mustStore = !this.isOffered("no-room");
    setPreference("landfall-bundle", name === "pocket" ? "pocket-only" : name);
    setPreference("landfall-larger", null);
    this.stop();
    this.offer = null;
    this.setState({ kind: "none" });
    if (name === "pocket") {
      await this.model.load();
      return;
    }
    await this.findOffer();
    this.start(mustStore);
  }

  /** Stops the download. It is continued only at the user's request, also on later visits. */
  pause(): void {
    setPreference("landfall-larger", "paused");
    this.stop();
  }

  /** Downloads or continues to download at the user's request, also if it cannot be kept and the user knows that. */
  resume(): void {
    setPreference("landfall-larger", null);
    this.start(!this.isOffered("no-room"));
  }

  /** Looks for a larger model on this host and starts to download it if that is allowed. */
  private async consider(): Promise<void> {
    if (this.download || this.chosen === "pocket") return;
    await this.findOffer();
    this.startIfAllowed();
  }

  private async findOffer(): Promise<void> {
    const bundles = await this.model.bundles().catch(() => []);
    const find = (name: BundleName | null) => bundles.find((bundle) => bundle.name === name);
    this.offer = find(this.chosen) ?? find("phone") ?? find("desktop") ?? null;
  }

  private startIfAllowed(): void {
    if (!this.offer || this.download) return;
    const reason = this.reasonToWait();
    if (reason) this.setState({ kind: "offered", reason, ...this.offer });
    else this.start(true);
  }

  private reasonToWait(): Reason | null {
    const kept = getPreference("landfall-larger");
    if (kept === "paused" || kept === "no-room" || kept === "failed") return kept;
    // The page did not survive an earlier attempt, most likely for want of memory.
    if (kept === "starting") return "failed";
    if (this.offer?.cached) return null;
    if (isMetered(this.connection)) return "metered";
    return this.connection || this.model.hasAnswered ? null : "not-yet";
  }

  /** `mustStore`: whether the model is not used if the browser cannot keep it. */
  private start(mustStore: boolean): void {
    if (!this.offer) return;
    const { name, bytes, cached } = this.offer;
    const download = (this.download = new AbortController());
    if (!cached) announce("The more accurate model is being downloaded.");
    this.setState({ kind: "loading", name, received: 0, total: bytes, cached });
    const onReceived = (received: number, total: number, cached: boolean) => {
      if (download !== this.download) return;
      this.retryMs = RETRY_MS;
      this.setState({ kind: "loading", name, received, total: Math.max(total, bytes), cached });
      // From now on it is opened, which takes most memory. The mark stays if the browser closes the page meanwhile.
      if (received >= Math.max(total, bytes)) setPreference("landfall-larger", "starting");
    };
    this.model.loadLarger(name, onReceived, { signal: download.signal, mustStore }).then(
      () => this.finish(download, () => this.setState({ kind: "none" })),
      (error: unknown) => this.finish(download, () => this.onFailure(error)),
    );
  }

  private finish(download: AbortController, then: () => void): void {
    this.unmark();
    if (download !== this.download) return;
    this.download = null;
    then();
  }

  private unmark(): void {
    if (getPreference("landfall-larger") === "starting") setPreference("landfall-larger", null);
  }

  private onFailure(error: unknown): void {
    if (!this.offer) return;
    const kind = error instanceof EngineError ? error.kind : null;
    if (kind === "network") {
      this.setState({ kind: "waiting", ...this.offer });
      setTimeout(() => this.state.kind === "waiting" && this.startIfAllowed(), this.retryMs);
      this.retryMs = Math.min(2 * this.retryMs, MAX_RETRY_MS);
      return;
    }
    const reason = kind === "storage" ? "no-room" : "failed";
    // The server may have a good copy at the next visit.
    if (kind !== "corrupt") setPreference("landfall-larger", reason);
    this.setState({ kind: "offered", reason, ...this.offer });
    notify("status", `The more accurate model is not used: ${errorMessage(error)} The small one goes on to answer.`);
  }

  private onConnectionChange(): void {
    if (this.state.kind === "loading" && !this.state.cached && isMetered(this.connection)) this.stop();
    else if (this.isOffered("metered") || this.state.kind === "waiting") this.startIfAllowed();
  }

  private stop(): void {
    this.download?.abort();
    this.download = null;
    if (!this.offer || this.state.kind === "none") return;
    this.setState({ kind: "offered", reason: this.reasonToWait() ?? "paused", ...this.offer });
  }

  private isOffered(reason: Reason): boolean {
    return this.state.kind === "offered" && this.state.reason === reason;
  }

  private setState(state: LargerState): void {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }
}

/** Whether the connection costs by the byte, as far as the browser says. */
function isMetered(connection: Connection | undefined): boolean {
  return !!connection && (connection.saveData === true || connection.type === "cellular");
}
