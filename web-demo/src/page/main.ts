// The phone page: its head, its two modes, and what begins when it is opened.

import "./page.css";
import "./media.css";
import "./panel.css";
import "./settings.css";
import { el } from "../dom";
import { icon, mark } from "./icons";
import { Look } from "./locate-mode";
import { Model } from "./model";
import { Offline } from "./offline-cache";
import { onDrop } from "./photos";
import { Play } from "./game-mode";
import { Settings, statusLine } from "./settings";
import { notify, Stage, voices } from "./layout";

const model = new Model();
const offline = new Offline();
model.addEventListener("change", () => model.state.kind === "ready" && offline.fill(model.state.status.backend === "webgpu"));
// On a first visit the model waits for the service worker, so that what it fetches is kept; on later ones it is what takes
// longest.
const kept = offline.serves;
if (kept) model.load().catch(() => undefined);

const stage = new Stage();
const settings = new Settings(model, stage);
const status = statusLine(model, offline);
const look = new Look(stage, model, status);
const play = new Play(stage, model, status);

const toLook = el("a", { href: "#look" }, "Look");
const toPlay = el("a", { href: "#play" }, "Play");

document.getElementById("app")!.replaceChildren(
  el(
    "header",
    { class: "top" },
    el("h1", {}, el("a", { class: "brand", href: "#look", click: () => mode() === look && look.enter() }, mark(), "Landfall")),
    el("nav", { class: "modes", "aria-label": "What to do" }, toLook, toPlay),
    el("button", { type: "button", class: "round-button", "aria-label": "Settings", click: () => settings.open() }, icon("settings")),
  ),
  ...voices,
  stage.element,
  settings.dialog,
);

const mode = () => (location.hash === "#play" ? play : look);

function enter(): void {
  look.leave();
  play.leave();
  mode().enter();
  toLook.toggleAttribute("aria-current", mode() === look);
  toPlay.toggleAttribute("aria-current", mode() === play);
}

addEventListener("hashchange", enter);
onDrop((files) => void mode().take(files));
enter();

await offline.start((use) => notify("status", "A new version of this page is here.", { label: "Use it", go: use }));
if (!kept) await model.load().catch(() => undefined);
