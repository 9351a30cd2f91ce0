// Looking: the camera, photos or an example, and where they seem to have been taken.

import { formatCount, formatDistance } from "../geometry";
import { el } from "../dom";
import type { Prediction, LatLng } from "../engine/types";
import { answerOnMap, answerText, creditLine, point } from "./prediction-view";
import { Camera } from "./camera";
import { icon } from "./icons";
import type { Model } from "./model";
import { gallery, picker, release, viewOf, type View } from "./photos";
import { EXAMPLES, fetchViews, type Round } from "./samples";
import { share } from "./share";
import { announce, button, hideNotice, notify, showError, type Stage } from "./layout";
import { placeIn, placeOfDevice } from "./location";
import { sentenceCase, sureness } from "./labels";

/** Milliseconds between two live guesses, so that a phone stays cool. */
const BREATH_MS = 150;
const MOST_VIEWS = 8;

export class Look {
  private readonly video = el("video", { playsinline: true, muted: true, "aria-label": "What the camera sees" });
  private readonly camera = new Camera(this.video);
  private views: View[] = [];
  /** The example that is shown, when it is one. */
  private example: Round | null = null;
  private live = true;
  /** Counts what was begun; what comes late for something that is over is dropped. */
  private turn = 0;
  /** Counts the loops of guesses: the last one alone goes on. */
  private loops = 0;

  constructor(
    private readonly stage: Stage,
    private readonly model: Model,
    private readonly status: HTMLElement,
  ) {}

  /** The start: what can be done here. */
  enter(): void {
    this.forget();
    this.stage.begin(
      "look",
      "Where on Earth is this?",
      "Point the camera at a street, or choose a photo. The guess is made on this device: no picture leaves it.",
      button("Camera", "camera", () => void this.openCamera(), true),
      picker("Photos", (files) => void this.take(files)),
    );
    this.stage.showPanel(
      el("h2", { class: "panel-title" }, "Or try one of these"),
      el("div", { class: "examples" }, ...EXAMPLES.map((round, i) => this.exampleButton(round, i))),
      this.status,
    );
  }

  leave(): void {
    this.forget();
  }

  /** New pictures of a new place; several are views of it. */
  async take(files: Blob[]): Promise<void> {
    if (!files.length) return;
    this.forget();
    await this.add(files);
  }

  private forget(): void {
    this.turn++;
    this.camera.close();
    release(this.views);
    this.views = [];
    this.example = null;
    hideNotice();
  }

  /** Without a name, which would give the place away. */
  private exampleButton(round: Round, at: number): HTMLElement {
    return el(
      "button",
      { type: "button", class: "example", "aria-label": `Example ${at + 1}`, click: () => void this.takeExample(round) },
      el("img", { src: round.views[0] ?? "", alt: "", loading: "lazy", decoding: "async" }),
    );
  }

  private async takeExample(round: Round): Promise<void> {
    this.forget();
    const turn = this.turn;
    try {
      const views = await fetchViews(round);
      if (turn !== this.turn) return;
      this.example = round;
      await this.add(views);
    } catch (error) {
      showError(error);
    }
  }

  private async openCamera(): Promise<void> {
    hideNotice();
    const turn = ++this.turn;
    try {
      await this.camera.open(() => {
        showError(new Error("The camera was switched off: open it again, or choose a photo."));
        this.back();
      });
    } catch (error) {
      showError(error);
      return;
    }
    if (turn !== this.turn) {
      this.camera.close();
      return;
    }
    const live = el(
      "button",
      { type: "button", class: "round-button glass live", "aria-pressed": String(this.live), "aria-label": "Guess all the time", click: () => this.toggleLive(live, turn) },
      icon("live"),
    );
    this.stage.showView(
      "camera",
      this.video,
      el(
        "div",
        { class: "camera-buttons" },
        el("button", { type: "button", class: "round-button glass", "aria-label": "Close the camera", click: () => this.back() }, icon("close")),
        el("button", { type: "button", class: "shutter", "aria-label": "Take the picture", click: () => void this.shoot() }),
        live,
      ),
    );
    if (this.live) void this.follow(turn);
    else this.stage.showPanel(this.hint(), this.status);
  }

  private hint(): HTMLElement {
    const words = this.views.length ? "Take another view of the same place." : "Hold still on a street, a sign, a skyline.";
    return el("p", { class: "waiting" }, words);
  }

  private toggleLive(live: HTMLElement, turn: number): void {
    this.live = !this.live;
    live.setAttribute("aria-pressed", String(this.live));
    announce(this.live ? "Guessing all the time." : "Guessing only when you take a picture.");
    if (this.live) void this.follow(turn);
  }

  /** Guesses from what the camera sees, again and again. */
  private async follow(turn: number): Promise<void> {
    const loop = ++this.loops;
    const here = () => this.live && turn === this.turn && loop === this.loops;
    this.stage.map.world();
    // What is said changes in place, so that one can scroll in it.
    const said = el("div");
    this.stage.showPanel(said, this.status);
    said.append(this.hint());
    try {
      while (here()) {
        if (!document.hidden) {
          const answer = await this.model.locate([...this.views.map(({ blob }) => blob), await this.camera.frame()]);
          if (!here()) return;
          said.replaceChildren(answerText(answer));
          answerOnMap(this.stage, answer, true);
        }
        await new Promise((done) => setTimeout(done, BREATH_MS));
      }
    } catch (error) {
      if (!here()) return;
      this.live = false;
      this.stage.element.querySelector(".live")?.setAttribute("aria-pressed", "false");
      showError(error);
    }
  }

  private async shoot(): Promise<void> {
    try {
      const picture = await this.camera.still();
      this.camera.close();
      await this.add([picture]);
    } catch (error) {
      showError(error);
    }
  }

  /** From the camera to where one was. */
  private back(): void {
    this.camera.close();
    if (this.views.length) void this.add([]);
    else this.enter();
  }

  /** Adds views of the place that is shown and guesses from all. Pictures that cannot be read leave no trace. */
  private async add(pictures: Blob[]): Promise<void> {
    const turn = ++this.turn;
    const before = this.views;
    const added = pictures.slice(0, MOST_VIEWS - before.length).map(viewOf);
    this.views = [...before, ...added];
    hideNotice();
    if (added.length < pictures.length) notify("status", `${MOST_VIEWS} views of a place are looked at, not more.`);
    this.showPictures();
    this.stage.busy = true;
    this.stage.showPanel(el("p", { class: "waiting thinking" }, "Looking…"), this.status);
    try {
      const answer = await this.model.locate(this.views.map(({ blob }) => blob));
      if (turn !== this.turn) return;
      this.stage.busy = false;
      this.showAnswer(answer);
    } catch (error) {
      if (turn !== this.turn) return;
      this.stage.busy = false;
      release(added);
      this.views = before;
      if (before.length && added.length) await this.add([]);
      else this.enter();
      showError(error);
    }
  }

  private showPictures(): void {
    const name = this.example ? "The example" : "Your picture";
    this.stage.showView(
      "picture",
      gallery(this.views, name),
      el("button", { type: "button", class: "round-button glass view-close", "aria-label": "Close the picture", click: () => this.enter() }, icon("close")),
    );
  }

  private showAnswer(answer: Prediction): void {
    const revealed = el("div", { class: "revealed", role: "status" });
    const { example } = this;
    const full = this.views.length >= MOST_VIEWS;
    const shareIt = button("Share", "share", () => void share({ answer, picture: this.views.at(-1)!.blob }).catch(showError));
    const next = el("div", { class: "actions actions-stay" }, shareIt);
    const truth = el("div", { class: "truth" }, revealed);
    const ask = button("How close?", "target", () => void this.reveal(answer, truth, next, shareIt).catch(showError), true);
    next.prepend(ask);
    this.stage.showPanel(
      truth,
      answerText(answer),
      next,
      !full &&
        el(
          "div",
          { class: "more" },
          el("h3", {}, "Add another view of this place"),
          el(
            "div",
            { class: "actions" },
            button("Camera", "camera", () => void this.openCamera()),
            picker("Photos", (files) => void this.add(files)),
          ),
        ),
      example && creditLine(example.credit),
      this.status,
    );
    answerOnMap(this.stage, answer);
    announce(`${sureness(answer)}: ${sentenceCase(answer.place)}.`);
  }

  /** Shows the truth: the example's, the photo's own, or where the device is, which `next` asks for then. */
  private async reveal(answer: Prediction, box: HTMLElement, next: HTMLElement, shareIt: HTMLElement): Promise<void> {
    const turn = this.turn;
    const into = box.querySelector<HTMLElement>(".revealed")!;
    const show = async (truth: LatLng, by: string) => {
      await this.showTruth(answer, truth, into, by);
      // Beside what is worth sharing; the panel is all for words now.
      box.append(shareIt);
      next.remove();
      shareIt.focus();
    };
    const truth = this.example?.truth ?? (await this.placeInViews());
    if (turn !== this.turn) return;
    if (truth) return show(truth, this.example?.name ?? "By the place in the photo");
    const here = button(
      "I am here",
      "target",
      () => {
        here.disabled = true;
        placeOfDevice()
          .then((place) => (turn === this.turn ? show(place, "By where this device is") : undefined))
          .catch(showError)
          .finally(() => (here.disabled = false));
      },
      true,
    );
    into.replaceChildren(el("p", {}, "These pictures carry no place. Are you there now? This device can tell."));
    next.replaceChildren(here, shareIt);
    here.focus();
  }

  private async placeInViews(): Promise<LatLng | null> {
    for (const { blob } of this.views) {
      const place = await placeIn(blob);
      if (place) return place;
    }
    return null;
  }

  /** Distance and points, on top of what is said. */
  private async showTruth(answer: Prediction, truth: LatLng, into: HTMLElement, by: string): Promise<void> {
    const result = await this.model.score(point(answer), truth);
    const { distanceKm, points } = result;
    into.replaceChildren(
      el("p", { class: "outcome" }, `${formatDistance(distanceKm * 1000)} off`),
      el("p", {}, `${formatCount(points)} of 5,000 points. ${by}.`),
    );
    into.scrollIntoView({ block: "nearest" });
    const { map } = this.stage;
    map.showMarks([{ ...truth, kind: "truth" }, { ...point(answer), kind: "guess" }], [[point(answer), truth]]);
    map.go([point(answer), truth], 24);
  }
}
