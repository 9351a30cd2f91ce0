// The status line and the settings dialog: models, storage, map tiles, credits.

import { el } from "../dom";
import type { BundleName } from "../engine/types";
import { icon } from "./icons";
import { getPreference, setPreference } from "./preferences";
import type { ModelController, State } from "./model";
import { EXAMPLES, SAMPLES } from "./samples";
import { announce, button, showError, type Layout } from "./layout";
import { capitalize, formatBackend, formatSize } from "./labels";

/** A line with the loaded model, the backend and download progress. */
export function statusLine(model: ModelController, offlineCache: { ready: boolean } & EventTarget): HTMLElement {
  const line = el("div", { class: "status" });
  const show = () => {
    const { state } = model;
    if (state.kind === "failed") {
      line.replaceChildren(
        el("p", { role: "alert" }, state.message),
        button("Try again", "again", () => void model.load().catch(() => undefined)),
      );
    } else if (state.kind === "loading") {
      // Reuse the progress element, which would flicker otherwise.
      const bar = line.querySelector("progress") ?? progress();
      line.replaceChildren(el("p", {}, updateProgress(state, bar)), bar);
    } else {
      const { status } = state;
      const parts = [
        `${capitalize(status.bundle ?? "no")} model`,
        formatBackend(status),
        offlineCache.ready && "works offline",
      ];
      line.replaceChildren(el("p", {}, parts.filter(Boolean).join(" · ")), status.note ? el("p", {}, status.note) : "");
      if (status.bundle === "pocket") void offerDesktop();
    }
  };
  /** Offers the larger model if the host has it. */
  const offerDesktop = async () => {
    const larger = (await model.bundles().catch(() => [])).find(({ name }) => name === "desktop");
    if (!larger || model.state.kind !== "ready" || line.querySelector("button")) return;
    const availability = larger.cached ? "on this device" : formatSize(larger.bytes);
    line.append(
      button(
        `Use the more accurate model (${availability})`,
        null,
        () => void model.load("desktop").catch(() => undefined),
      ),
    );
  };
  model.addEventListener("change", show);
  offlineCache.addEventListener("change", show);
  show();
  return line;
}

function progress(): HTMLProgressElement {
  return el("progress", { "aria-label": "Download of the model", max: "1" });
}

/** Updates a progress bar and returns the progress as text. */
function updateProgress(state: State & { kind: "loading" }, bar: HTMLProgressElement): string {
  if (state.total) bar.value = state.received / state.total;
  return state.cached
    ? "Loading the model…"
    : `Downloading the model: ${formatSize(state.received)} of ${formatSize(state.total)}`;
}

export class Settings {
  private readonly models = el("fieldset", { class: "model-options" });
  private readonly statusText = el("p", {});
  private readonly bar = progress();
  private shown: State["kind"] | null = null;
  readonly dialog = el("dialog", { class: "settings", "aria-labelledby": "settings-title" });

  constructor(
    private readonly model: ModelController,
    layout: Layout,
  ) {
    const tiles = el("input", {
      type: "checkbox",
      id: "tiles",
      "aria-describedby": "tiles-note",
      change: () => useTiles(tiles.checked),
    });
    const useTiles = (on: boolean) => {
      layout.map.tiles = on;
      setPreference("landfall-tiles", on ? "yes" : null);
    };
    tiles.checked = getPreference("landfall-tiles") === "yes";
    if (tiles.checked) layout.map.tiles = true;
    this.dialog.append(
      el(
        "header",
        {},
        el("h2", { id: "settings-title" }, "Settings"),
        el(
          "button",
          { type: "button", class: "round-button", "aria-label": "Close", click: () => this.dialog.close() },
          icon("close"),
        ),
      ),
      el("h3", {}, "Model"),
      this.models,
      this.statusText,
      this.bar,
      button("Delete stored models", null, () => void this.clear()),
      el("h3", {}, "Map"),
      el("label", { class: "switch" }, tiles, el("span", {}, "Street map from OpenStreetMap")),
      el(
        "p",
        { id: "tiles-note", class: "note" },
        "If enabled, the visible part of the map is requested from openstreetmap.org. If disabled, the page sends nothing to other servers.",
      ),
      el("h3", {}, "About"),
      el(
        "p",
        { class: "note" },
        "Landfall predicts from the pixels of a photo where on Earth it was taken. Everything runs on this device. There are no trackers and no accounts, and no photo is uploaded. GPS coordinates in a photo are read only to show the distance to the prediction.",
      ),
      el("p", { class: "note" }, "Coastlines and borders: Natural Earth."),
      credits(),
    );
    // A click outside the dialog closes it.
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    model.addEventListener("change", () => this.dialog.open && this.update());
  }

  open(): void {
    this.dialog.showModal();
    this.shown = null;
    this.update();
  }

  /** Shows the state of the model. The list of models is rebuilt only when the kind of state changes. */
  private update(): void {
    const { state } = this.model;
    this.bar.hidden = state.kind !== "loading";
    if (state.kind === "loading") this.statusText.textContent = updateProgress(state, this.bar);
    else
      this.statusText.textContent = state.kind === "ready" ? `Backend: ${formatBackend(state.status)}.` : state.message;
    if (state.kind !== this.shown) void this.refresh();
  }

  private async refresh(): Promise<void> {
    const { state } = this.model;
    this.shown = state.kind;
    const current = state.kind === "ready" ? state.status.bundle : state.kind === "loading" ? state.name : null;
    try {
      const bundles = await this.model.bundles();
      const legend = el("legend", { class: "visually-hidden" }, "Model");
      this.models.replaceChildren(
        legend,
        ...bundles.map(({ name, version, bytes, cached }) => {
          const radio = el("input", { type: "radio", name: "model", value: name, change: () => this.use(name) });
          radio.checked = name === current;
          radio.disabled = state.kind === "loading";
          const availability = cached ? "on this device" : `${formatSize(bytes)} download`;
          return el(
            "label",
            { class: "model-option" },
            radio,
            el(
              "span",
              {},
              el("strong", {}, capitalize(name)),
              el("small", {}, `${NOTES[name]} Version ${version}, ${availability}.`),
            ),
          );
        }),
      );
    } catch (error) {
      this.models.replaceChildren(el("p", {}, error instanceof Error ? error.message : String(error)));
    }
  }

  private use(name: BundleName): void {
    this.model.load(name).catch((error: unknown) => {
      showError(error);
      // Fall back to the small model.
      if (name !== "pocket") void this.model.load("pocket").catch(() => undefined);
    });
  }

  private async clear(): Promise<void> {
    try {
      await this.model.clear();
      announce("The stored models were deleted.");
    } catch (error) {
      showError(error);
    }
    await this.refresh();
  }
}

const NOTES: Record<BundleName, string> = {
  pocket: "Small and fast.",
  desktop: "Larger, slower and much more accurate.",
};

function credits(): HTMLElement {
  const shown = [...EXAMPLES, ...SAMPLES.filter((sample) => !EXAMPLES.includes(sample))];
  return el(
    "details",
    {},
    el("summary", {}, "Photo credits"),
    ...shown.map(({ credit }) => el("pre", { tabindex: "0" }, credit.text)),
  );
}
