// The settings dialog: models, storage, map tiles, credits.

import { el } from "../dom";
import type { BundleName } from "../engine/types";
import { icon } from "./icons";
import { getPreference, setPreference } from "./preferences";
import type { LargerModel } from "./larger-model";
import type { ModelController, State } from "./model";
import { EXAMPLES, SAMPLES } from "./samples";
import { announce, button, showError, type Layout } from "./layout";
import { capitalize, formatBackend, formatRejected, formatSize } from "./labels";
import { progressBar, updateProgress } from "./status-line";

export class Settings {
  private readonly models = el("fieldset", { class: "model-options" });
  private readonly statusText = el("p", {});
  private readonly bar = progressBar();
  private shown: string | null = null;
  readonly dialog = el("dialog", { class: "settings", "aria-labelledby": "settings-title" });

  constructor(
    private readonly model: ModelController,
    private readonly larger: LargerModel,
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

  /** Shows the state of the model. The list of models is rebuilt only when another one is loaded or loading. */
  private update(): void {
    const { state } = this.model;
    this.bar.hidden = state.kind !== "loading";
    if (state.kind === "loading") this.statusText.textContent = updateProgress(state, this.bar);
    else if (state.kind === "failed") this.statusText.textContent = state.message;
    else {
      const { status } = state;
      this.statusText.textContent = `Backend: ${formatBackend(status)}. ${formatRejected(status.rejected)}`.trim();
    }
    if (shownState(state) !== this.shown) void this.refresh();
  }

  private async refresh(): Promise<void> {
    const { state } = this.model;
    this.shown = shownState(state);
    const current = state.kind === "ready" ? (this.larger.chosen ?? state.status.bundle) : null;
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
    this.larger.choose(name).catch(showError);
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

function shownState(state: State): string {
  return state.kind === "ready" ? `ready ${state.status.bundle}` : state.kind;
}

const NOTES: Record<BundleName, string> = {
  pocket: "Small and fast.",
  phone: "Slower and much more accurate, made for phones.",
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
