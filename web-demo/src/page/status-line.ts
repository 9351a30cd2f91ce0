// The status line: the loaded model, the backend, and the download of a larger model.

import { el } from "../dom";
import { button } from "./layout";
import { capitalize, formatBackend, formatRejected, formatSize } from "./labels";
import type { LargerModel, LargerState, Reason } from "./larger-model";
import type { ModelController, State } from "./model";

/** A line with the loaded model, the backend and download progress, and below it a line about the larger model. */
export function statusLine(
  model: ModelController,
  larger: LargerModel,
  offlineCache: { ready: boolean } & EventTarget,
): HTMLElement {
  const line = el("div", { class: "status-part" });
  const bar = progressBar();
  const show = () => {
    const { state } = model;
    if (state.kind === "failed") {
      line.replaceChildren(
        el("p", { role: "alert" }, state.message),
        button("Try again", "again", () => void model.load().catch(() => undefined)),
      );
    } else if (state.kind === "loading") {
      const text = updateProgress(state, bar);
      // The same elements as before, which would flicker otherwise.
      if (bar.parentNode === line) line.firstElementChild!.textContent = text;
      else line.replaceChildren(el("p", {}, text), bar);
    } else {
      const { status } = state;
      const parts = [
        `${capitalize(status.bundle ?? "no")} model`,
        formatBackend(status),
        offlineCache.ready && "works offline",
      ];
      const wrong = status.rejected.filter(({ reason }) => reason === "wrong");
      const notes = [status.note, formatRejected(wrong)].filter(Boolean);
      line.replaceChildren(el("p", {}, parts.filter(Boolean).join(" · ")), ...notes.map((note) => el("p", {}, note!)));
    }
  };
  model.addEventListener("change", show);
  offlineCache.addEventListener("change", show);
  show();
  return el("div", { class: "status" }, line, largerLine(larger));
}

/** What keeps the larger model from being downloaded, for the button that downloads it anyway. */
const REASONS: Record<Reason, string> = {
  paused: "The download of the more accurate model is paused.",
  metered: "A more accurate model can be downloaded; this connection may charge for it.",
  "no-room": "The browser has no room to keep the more accurate model. It can be used for this visit only.",
  failed: "The more accurate model could not be used on this device.",
  "not-yet": "",
};

/** Progress of the larger model, with a button that pauses or continues it. Elements stay, to keep the focus. */
function largerLine(larger: LargerModel): HTMLElement {
  const text = el("p", {});
  const bar = progressBar("Download of the more accurate model");
  const toggle = el("button", {
    type: "button",
    class: "button button-small",
    click: () => (larger.state.kind === "offered" ? larger.resume() : larger.pause()),
  });
  const line = el("div", { class: "status-part larger" }, text, bar, toggle);
  const show = () => {
    const { state } = larger;
    line.hidden = state.kind === "none" || (state.kind === "offered" && state.reason === "not-yet");
    bar.hidden = state.kind !== "loading";
    toggle.hidden = line.hidden || (state.kind === "loading" && state.cached);
    text.textContent = describe(state);
    const label = state.kind === "offered" ? `Use the more accurate model (${availability(state)})` : "Pause";
    toggle.textContent = toggle.hidden ? "" : label;
    if (state.kind === "loading" && state.total) bar.value = Math.min(1, state.received / state.total);
  };
  larger.addEventListener("change", show);
  show();
  return line;
}

function describe(state: LargerState): string {
  switch (state.kind) {
    case "none":
      return "";
    case "offered":
      return REASONS[state.reason];
    case "waiting":
      return `The download of the more accurate model (${formatSize(state.bytes)}) continues when there is a connection.`;
    case "loading":
      if (state.cached || state.received >= state.total) return "Opening the more accurate model…";
      return `Downloading the more accurate model: ${formatSize(state.received)} of ${formatSize(state.total)}`;
  }
}

function availability({ bytes, cached }: LargerState & { kind: "offered" }): string {
  return cached ? "on this device" : formatSize(bytes);
}

export function progressBar(label = "Download of the model"): HTMLProgressElement {
  return el("progress", { "aria-label": label, max: "1" });
}

/** Updates a progress bar and returns the progress as text. */
export function updateProgress(state: State & { kind: "loading" }, bar: HTMLProgressElement): string {
  if (state.total) bar.value = state.received / state.total;
  return state.cached
    ? "Loading the model…"
    : `Downloading the model: ${formatSize(state.received)} of ${formatSize(state.total)}`;
}
