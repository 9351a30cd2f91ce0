// What there is to see: a panorama that turns, or one photograph shown whole. With the compass.

import "pannellum/build/pannellum.css";
import "pannellum/build/pannellum.js";
import type { Game, Round } from "./api";
import { el, set } from "./dom";
import { wrapHeading } from "../geometry";
import { Turning, type Angles } from "./rotation-control";

/** Horizontal field of view at the start, in degrees. */
const HFOV = 100;

const KEYS: Record<string, ["yaw" | "pitch", number]> = {
  a: ["yaw", -1],
  arrowleft: ["yaw", -1],
  d: ["yaw", 1],
  arrowright: ["yaw", 1],
  arrowup: ["pitch", 1],
  arrowdown: ["pitch", -1],
};

export class View {
  readonly element = el("div", {
    class: "game-panorama_panorama__q7fTm panorama",
    "data-qa": "panorama",
    "data-state": "loading",
    tabindex: "0",
    "aria-label": "The place to guess",
  });
  readonly compass = el(
    "button",
    {
      type: "button",
      class: "panorama-compass_compassContainer__k2Xs1 compass",
      "data-qa": "compass",
      title: "Turn to north (N)",
      "aria-label": "Turn to north",
      click: () => this.turnTo(0, 0),
    },
    el("span", { class: "compass_compass__u8Lr0 compass-rose", "aria-hidden": "true" }),
  );
  private viewer: PannellumViewer | null = null;
  private turning: Turning | null = null;
  private start = 0;
  private frame = 0;
  private shownHeading = "";
  private readonly spinner = el(
    "div",
    { class: "fullscreen-spinner_root__w3Rvy spinner", role: "status" },
    el("div", { class: "spinner-ring" }),
    el("span", {}, "Loading the place"),
  );

  constructor() {
    this.element.addEventListener("keydown", (event) => this.keyDown(event));
    this.element.addEventListener("keyup", (event) => this.turning?.release(event.key.toLowerCase()));
    // A key that is let go elsewhere must not turn the view for ever.
    this.element.addEventListener("focusout", () => this.turning?.releaseAll());
  }

  /** Shows a round's picture; settles when it stands on the page. */
  async show(round: Round, game: Game): Promise<void> {
    this.expect();
    this.element.classList.toggle("panorama-photo", round.picture.kind === "photo");
    this.compass.hidden = round.picture.kind !== "panorama";
    try {
      await (round.picture.kind === "panorama" ? this.showPanorama(round, game) : this.showPhoto(round));
      // Two frames: one to draw, one to be seen.
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      set(this.element, "data-state", "ready");
    } finally {
      this.spinner.remove();
    }
  }

  /** Takes the picture away until the next one is shown. */
  expect(): void {
    this.clear();
    set(this.element, "data-state", "loading");
    document.body.append(this.spinner);
  }

  /** Takes the picture away. */
  clear(): void {
    cancelAnimationFrame(this.frame);
    this.viewer?.destroy();
    this.viewer = this.turning = null;
    this.element.replaceChildren();
    this.spinner.remove();
  }

  private async showPhoto(round: Round): Promise<void> {
    const image = el("img", { class: "photo", alt: "The place to guess", draggable: "false", src: round.picture.url });
    this.element.append(image);
    await image.decode().catch(() => {
      throw new Error("The picture of this round could not be loaded.");
    });
  }

  private async showPanorama(round: Round, game: Game): Promise<void> {
    const stage = el("div", { class: "stage", "data-qa": "panorama-canvas" });
    this.element.append(stage);
    this.start = round.heading;
    await new Promise<void>((done, failed) => {
      const viewer = window.pannellum.viewer(stage, {
        type: "equirectangular",
        panorama: round.picture.url,
        autoLoad: true,
        // The middle of the picture faces north, so yaw and heading are one.
        yaw: this.start,
        pitch: 0,
        hfov: HFOV,
        minHfov: 30,
        showControls: false,
        compass: false,
        keyboardZoom: false,
        disableKeyboardCtrl: true,
        doubleClickZoom: false,
        ignoreGPanoXMP: true,
        draggable: !game.forbidRotating,
        mouseZoom: !game.forbidZooming,
        friction: 0.3,
      });
      viewer.on("load", done);
      viewer.on("error", () => failed(new Error("The panorama of this round could not be shown.")));
      this.viewer = viewer;
    });
    this.turning = game.forbidRotating ? null : new Turning(this.angles());
    this.watch(performance.now());
  }

  private angles(): Angles {
    return { yaw: this.viewer?.getYaw() ?? 0, pitch: this.viewer?.getPitch() ?? 0 };
  }

  /** Every frame: keys turn the view, and the compass follows it. */
  private watch(before: number): void {
    this.frame = requestAnimationFrame((time) => {
      const { viewer, turning } = this;
      if (!viewer) return;
      if (turning?.moving) {
        const { yaw, pitch } = turning.step(time, Math.max(0, time - before));
        viewer.setPitch(pitch, false).setYaw(yaw, false);
      } else {
        turning?.moved(this.angles());
      }
      const heading = wrapHeading(viewer.getYaw());
      const shown = wrapHeading(Number(heading.toFixed(1))).toFixed(1);
      if (this.shownHeading !== shown) {
        this.shownHeading = shown;
        set(this.compass, "data-heading", shown);
        this.compass.style.setProperty("--heading", `${-heading}deg`);
      }
      this.watch(time);
    });
  }

  private turnTo(heading: number, pitch: number): void {
    if (!this.viewer || !this.turning) return;
    const { yaw } = this.angles();
    this.turning.turnTo({ yaw: yaw + ((((heading - yaw + 180) % 360) + 360) % 360) - 180, pitch });
  }

  private keyDown(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.turning) return;
    const key = event.key.toLowerCase();
    const turn = KEYS[key];
    if (turn) this.turning.press(key, turn[0], turn[1], performance.now());
    else if (key === "n") this.turnTo(0, 0);
    else if (key === "r") {
      this.viewer?.setHfov(HFOV, false);
      this.turnTo(this.start, 0);
    } else return;
    event.preventDefault();
  }
}
