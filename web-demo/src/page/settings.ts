// Models, storage, the map's tiles, and what is to be said of the page: a line on the stage and a dialog.

import { el } from "../dom";
import type { BundleName } from "../engine/types";
import { icon } from "./icons";
import { recall, remember } from "./preferences";
import type { Model, State } from "./model";
import { EXAMPLES, ROUNDS } from "./samples";
import { announce, button, showError, type Stage } from "./layout";
import { backend, sentenceCase, size } from "./labels";

/** One line that says what is loaded and what computes, and how far a download has come. */
export function statusLine(model: Model, offline: { ready: boolean } & EventTarget): HTMLElement {
  const line = el("div", { class: "status" });
  const show = () => {
    const { state } = model;
    if (state.kind === "failed") {
      line.replaceChildren(
        el("p", { role: "alert" }, state.message),
        button("Try again", "again", () => void model.load().catch(() => undefined)),
      );
    } else if (state.kind === "loading") {
      // The bar stays the same element, so that it grows and does not flicker.
      const bar = line.querySelector("progress") ?? progress();
      line.replaceChildren(el("p", {}, advance(state, bar)), bar);
    } else {
      const { status } = state;
      const parts = [`${sentenceCase(status.bundle ?? "no")} model`, backend(status), offline.ready && "works offline"];
      line.replaceChildren(el("p", {}, parts.filter(Boolean).join(" · ")), status.note ? el("p", {}, status.note) : "");
      if (status.bundle === "pocket") void offer();
    }
  };
  /** The larger model, where this host has it. */
  const offer = async () => {
    const larger = (await model.bundles().catch(() => [])).find(({ name }) => name === "desktop");
    if (!larger || model.state.kind !== "ready" || line.querySelector("button")) return;
    const cost = larger.cached ? "on this device" : size(larger.bytes);
    line.append(button(`Use the larger, better model (${cost})`, null, () => void model.load("desktop").catch(() => undefined)));
  };
  model.addEventListener("change", show);
  offline.addEventListener("change", show);
  show();
  return line;
}

function progress(): HTMLProgressElement {
  return el("progress", { "aria-label": "The model's download", max: "1" });
}

/** Moves a bar to where a download is, and says it in words. */
function advance(state: State & { kind: "loading" }, bar: HTMLProgressElement): string {
  if (state.total) bar.value = state.received / state.total;
  return state.cached ? "Opening the model…" : `Fetching the model: ${size(state.received)} of ${size(state.total)}`;
}

export class Settings {
  private readonly models = el("fieldset", { class: "models" });
  private readonly computes = el("p", {});
  private readonly bar = progress();
  private shown: State["kind"] | null = null;
  readonly dialog = el("dialog", { class: "settings", "aria-labelledby": "settings-title" });

  constructor(
    private readonly model: Model,
    stage: Stage,
  ) {
    const tiles = el("input", { type: "checkbox", id: "tiles", "aria-describedby": "tiles-note", change: () => useTiles(tiles.checked) });
    const useTiles = (on: boolean) => {
      stage.map.tiles = on;
      remember("landfall-tiles", on ? "yes" : null);
    };
    tiles.checked = recall("landfall-tiles") === "yes";
    if (tiles.checked) stage.map.tiles = true;
    this.dialog.append(
      el(
        "header",
        {},
        el("h2", { id: "settings-title" }, "Settings"),
        el("button", { type: "button", class: "round-button", "aria-label": "Close", click: () => this.dialog.close() }, icon("close")),
      ),
      el("h3", {}, "Model"),
      this.models,
      this.computes,
      this.bar,
      button("Clear stored models", null, () => void this.clear()),
      el("h3", {}, "Map"),
      el("label", { class: "switch" }, tiles, el("span", {}, "Street map from OpenStreetMap")),
      el("p", { id: "tiles-note", class: "note" }, "Off, nothing leaves this device. On, the part of the map you look at is asked for from openstreetmap.org."),
      el("h3", {}, "About"),
      el("p", { class: "note" }, "Landfall tells from a picture's pixels where on Earth it was taken. Everything is computed on this device. There is no tracker and no account, and no picture is sent anywhere. A place inside a photo is read only to tell how far off the guess was."),
      el("p", { class: "note" }, "Coasts and borders: Natural Earth."),
      credits(),
    );
    // A click beside the dialog closes it.
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    model.addEventListener("change", () => this.dialog.open && this.follow());
  }

  open(): void {
    this.dialog.showModal();
    this.shown = null;
    this.follow();
  }

  /** Says how far the model is; the choice is listed anew only when it is something else that it is doing. */
  private follow(): void {
    const { state } = this.model;
    this.bar.hidden = state.kind !== "loading";
    if (state.kind === "loading") this.computes.textContent = advance(state, this.bar);
    else this.computes.textContent = state.kind === "ready" ? `Computes on: ${backend(state.status)}.` : state.message;
    if (state.kind !== this.shown) void this.refresh();
  }

  private async refresh(): Promise<void> {
    const { state } = this.model;
    this.shown = state.kind;
    const taken = state.kind === "ready" ? state.status.bundle : state.kind === "loading" ? state.name : null;
    try {
      const bundles = await this.model.bundles();
      const legend = el("legend", { class: "unseen" }, "Model");
      this.models.replaceChildren(
        legend,
        ...bundles.map(({ name, version, bytes, cached }) => {
          const radio = el("input", { type: "radio", name: "model", value: name, change: () => this.use(name) });
          radio.checked = name === taken;
          radio.disabled = state.kind === "loading";
          const kept = cached ? "on this device" : `${size(bytes)} to fetch`;
          return el(
            "label",
            { class: "model" },
            radio,
            el("span", {}, el("strong", {}, sentenceCase(name)), el("small", {}, `${NOTES[name]} Version ${version}, ${kept}.`)),
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
      // The small one goes on.
      if (name !== "pocket") void this.model.load("pocket").catch(() => undefined);
    });
  }

  private async clear(): Promise<void> {
    try {
      await this.model.clear();
      announce("The stored models were cleared.");
    } catch (error) {
      showError(error);
    }
    await this.refresh();
  }
}

const NOTES: Record<BundleName, string> = {
  pocket: "Small and quick.",
  desktop: "Larger, slower, and much better.",
};

function credits(): HTMLElement {
  const shown = [...EXAMPLES, ...ROUNDS.filter((round) => !EXAMPLES.includes(round))];
  return el(
    "details",
    {},
    el("summary", {}, "Who made the pictures"),
    ...shown.map(({ credit }) => el("pre", { tabindex: "0" }, credit.text)),
  );
}
