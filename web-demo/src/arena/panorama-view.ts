// The view of a round: a panorama with a compass, or a single photo.

import "pannellum/build/pannellum.css";
import "pannellum/build/pannellum.js";
import type { Game, Round } from "./api";
import { el, set } from "./dom";
import { headingDifference, wrapHeading } from "../geometry";
import { RotationControl, type Angles } from "./rotation-control";

/** Initial horizontal field of view in degrees. */
const HFOV = 100;

const KEYS: Record<string, ["yaw" | "pitch", number]> = {
  a: ["yaw", -1],
  arrowleft: ["yaw", -1],
  d: ["yaw", 1],
  arrowright: ["yaw", 1],
  arrowup: ["pitch", 1],
  arrowdown: ["pitch", -1],
};

export class PanoramaView {
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
  private rotation: RotationControl | null = null;
  private startHeading = 0;
  private frame = 0;
  private shownHeading = "";
  private readonly spinner = el(
    "div",
    { class: "fullscreen-spinner_root__w3Rvy spinner", role: "status" },
    el("div", { class: "spinner-ring" }),
    el("span", {}, "Loading…"),
  );

  constructor() {
    this.element.addEventListener("keydown", (event) => this.keyDown(event));
    this.element.addEventListener("keyup", (event) => this.rotation?.keyUp(event.key.toLowerCase()));
    // A key that is released elsewhere must not keep rotating the view.
    this.element.addEventListener("focusout", () => this.rotation?.releaseAllKeys());
  }

  /** Shows the image of a round. Resolves when it has been drawn. */
  async show(round: Round, game: Game): Promise<void> {
    this.showLoading();
    this.element.classList.toggle("panorama-photo", round.picture.kind === "photo");
    this.compass.hidden = round.picture.kind !== "panorama";
    try {
      await (round.picture.kind === "panorama" ? this.showPanorama(round, game) : this.showPhoto(round));
      // Wait two frames until it is visible.
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      set(this.element, "data-state", "ready");
    } finally {
      this.spinner.remove();
    }
  }

  /** Removes the image and shows the loading state. */
  showLoading(): void {
    this.clear();
    set(this.element, "data-state", "loading");
    document.body.append(this.spinner);
  }

  /** Removes the image. */
  clear(): void {
    cancelAnimationFrame(this.frame);
    this.viewer?.destroy();
    this.viewer = this.rotation = null;
    this.element.replaceChildren();
    this.spinner.remove();
  }

  private async showPhoto(round: Round): Promise<void> {
    const image = el("img", { class: "photo", alt: "The place to guess", draggable: "false", src: round.picture.url });
    this.element.append(image);
    await image.decode().catch(() => {
      throw new Error("The photo of this round could not be loaded.");
    });
  }

  private async showPanorama(round: Round, game: Game): Promise<void> {
    const canvas = el("div", { class: "panorama-canvas", "data-qa": "panorama-canvas" });
    this.element.append(canvas);
    this.startHeading = round.heading;
    await new Promise<void>((done, failed) => {
      const viewer = window.pannellum.viewer(canvas, {
        type: "equirectangular",
        panorama: round.picture.url,
        autoLoad: true,
        // The centre of the image faces north, so yaw and heading are equal.
        yaw: this.startHeading,
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
      viewer.on("error", () => failed(new Error("The panorama of this round could not be loaded.")));
      this.viewer = viewer;
    });
    this.rotation = game.forbidRotating ? null : new RotationControl(this.angles());
    this.requestFrame(performance.now());
  }

  private angles(): Angles {
    return { yaw: this.viewer?.getYaw() ?? 0, pitch: this.viewer?.getPitch() ?? 0 };
  }

  /** Updates the view from the keyboard and the compass from the view in every frame. */
  private requestFrame(lastTime: number): void {
    this.frame = requestAnimationFrame((time) => {
      const { viewer, rotation } = this;
      if (!viewer) return;
      if (rotation?.isMoving) {
        const { yaw, pitch } = rotation.step(time, Math.max(0, time - lastTime));
        viewer.setPitch(pitch, false).setYaw(yaw, false);
      } else {
        rotation?.setAngles(this.angles());
      }
      const heading = wrapHeading(viewer.getYaw());
      const shown = wrapHeading(Number(heading.toFixed(1))).toFixed(1);
      if (this.shownHeading !== shown) {
        this.shownHeading = shown;
        set(this.compass, "data-heading", shown);
        this.compass.style.setProperty("--heading", `${-heading}deg`);
      }
      this.requestFrame(time);
    });
  }

  private turnTo(heading: number, pitch: number): void {
    if (!this.viewer || !this.rotation) return;
    const { yaw } = this.angles();
    this.rotation.turnTo({ yaw: yaw + headingDifference(yaw, heading), pitch });
  }

  private keyDown(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.rotation) return;
    const key = event.key.toLowerCase();
    const turn = KEYS[key];
    if (turn) this.rotation.keyDown(key, turn[0], turn[1], performance.now());
    else if (key === "n") this.turnTo(0, 0);
    else if (key === "r") {
      this.viewer?.setHfov(HFOV, false);
      this.turnTo(this.startHeading, 0);
    } else return;
    event.preventDefault();
  }
}
