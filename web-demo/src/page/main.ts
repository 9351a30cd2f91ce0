// Entry point of the phone page: header, the two modes and start-up.

import "./page.css";
import "./media.css";
import "./panel.css";
import "./settings.css";
import { el } from "../dom";
import { icon, logo } from "./icons";
import { LocateMode } from "./locate-mode";
import { LargerModel } from "./larger-model";
import { ModelController } from "./model";
import { OfflineCache } from "./offline-cache";
import { onDrop } from "./photos";
import { GameMode } from "./game-mode";
import { Settings } from "./settings";
import { statusLine } from "./status-line";
import { notify, Layout, liveRegions } from "./layout";

const model = new ModelController();
const larger = new LargerModel(model);
const offlineCache = new OfflineCache();
model.addEventListener(
  "change",
  () => model.state.kind === "ready" && offlineCache.fill(model.state.status.backend === "webgpu"),
);
// On a first visit the model is loaded after the service worker has started, so that the worker caches its files. On
// later visits it is loaded at once, since it takes longest.
const hasWorker = offlineCache.isControlled;
if (hasWorker) model.load().catch(() => undefined);

const layout = new Layout();
const settings = new Settings(model, larger, layout);
const status = statusLine(model, larger, offlineCache);
const locate = new LocateMode(layout, model, status);
const play = new GameMode(layout, model, status);

const locateLink = el("a", { href: "#locate" }, "Locate");
const playLink = el("a", { href: "#play" }, "Play");

document
  .getElementById("app")!
  .replaceChildren(
    el(
      "header",
      { class: "page-header" },
      el(
        "h1",
        {},
        el(
          "a",
          { class: "brand", href: "#locate", click: () => mode() === locate && locate.enter() },
          logo(),
          "Landfall",
        ),
      ),
      el("nav", { class: "modes", "aria-label": "Mode" }, locateLink, playLink),
      el(
        "button",
        { type: "button", class: "round-button", "aria-label": "Settings", click: () => settings.open() },
        icon("settings"),
      ),
    ),
    ...liveRegions,
    layout.element,
    settings.dialog,
  );

// Every other route is locate mode, including #look, its former name.
const mode = () => (location.hash === "#play" ? play : locate);

function enter(): void {
  locate.leave();
  play.leave();
  mode().enter();
  locateLink.toggleAttribute("aria-current", mode() === locate);
  playLink.toggleAttribute("aria-current", mode() === play);
}

addEventListener("hashchange", enter);
onDrop((files) => void mode().openFiles(files));
enter();

await offlineCache.start((activate) =>
  notify("status", "A new version of this page is available.", { label: "Update", run: activate }),
);
if (!hasWorker) await model.load().catch(() => undefined);
