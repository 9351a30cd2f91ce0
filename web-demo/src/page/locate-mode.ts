// Locate mode: predicts the location of camera images, photos or examples.

import { formatCount, formatDistance } from "../geometry";
import { el } from "../dom";
import { EngineError, type Prediction, type LatLng } from "../engine/types";
import { showOnMap, predictionText, creditLine, toLatLng } from "./prediction-view";
import { Camera } from "./camera";
import { icon } from "./icons";
import type { ModelController } from "./model";
import { gallery, photoPicker, revokeViews, createView, type PhotoView } from "./photos";
import { EXAMPLES, fetchViews, type Sample } from "./samples";
import { share } from "./share";
import { announce, button, hideNotice, notify, showError, type Layout } from "./layout";
import { readPhotoLocation, deviceLocation } from "./location";
import { confidenceLabel, placeName } from "./labels";

/** Pause between live predictions in milliseconds, to keep the phone from getting hot. */
const LIVE_PAUSE_MS = 150;
const MAX_VIEWS = 8;

export class LocateMode {
  private readonly video = el("video", { playsinline: true, muted: true, "aria-label": "Camera image" });
  private readonly camera = new Camera(this.video);
  private views: PhotoView[] = [];
  /** The current example, if any. */
  private example: Sample | null = null;
  private live = true;
  /** The prediction on the screen, and the correct location if it has been revealed. */
  private shown: { prediction: Prediction; truth: { at: LatLng; source: string } | null } | null = null;
  /** Incremented by each new action; results of earlier ones are discarded. */
  private generation = 0;
  /** Stops the predictions of earlier actions. */
  private current = new AbortController();
  /** Number of live loops started; only the last one continues. */
  private liveRuns = 0;

  constructor(
    private readonly layout: Layout,
    private readonly model: ModelController,
    private readonly status: HTMLElement,
  ) {
    model.addEventListener("upgrade", () => void this.predictAgain());
  }

  enter(): void {
    this.reset();
    this.layout.showStart(
      "locate",
      "Where on Earth is this?",
      "Point the camera at a street, or choose a photo. Everything runs on this device: no photo is uploaded.",
      button("Camera", "camera", () => void this.openCamera(), true),
      photoPicker("Photos", (files) => void this.openFiles(files)),
    );
    this.layout.showPanel(
      el("h2", { class: "panel-title" }, "Or try one of these"),
      el("div", { class: "examples" }, ...EXAMPLES.map((round, i) => this.exampleButton(round, i))),
      this.status,
    );
  }

  leave(): void {
    this.reset();
  }

  /** Predicts the location of new images, which are views of one place. */
  async openFiles(files: Blob[]): Promise<void> {
    if (!files.length) return;
    this.reset();
    await this.addViews(files);
  }

  /** Begins a new action. */
  private begin(): number {
    this.current.abort();
    this.current = new AbortController();
    this.shown = null;
    return ++this.generation;
  }

  private reset(): void {
    this.begin();
    this.camera.close();
    revokeViews(this.views);
    this.views = [];
    this.example = null;
    hideNotice();
  }

  /** Labelled with a number only, since the name would give the place away. */
  private exampleButton(round: Sample, at: number): HTMLElement {
    return el(
      "button",
      {
        type: "button",
        class: "example",
        "aria-label": `Example ${at + 1}`,
        click: () => void this.openExample(round),
      },
      el("img", { src: round.views[0] ?? "", alt: "", loading: "lazy", decoding: "async" }),
    );
  }

  private async openExample(round: Sample): Promise<void> {
    this.reset();
    const generation = this.generation;
    try {
      const views = await fetchViews(round);
      if (generation !== this.generation) return;
      this.example = round;
      await this.addViews(views);
    } catch (error) {
      showError(error);
    }
  }

  private async openCamera(): Promise<void> {
    hideNotice();
    const generation = this.begin();
    try {
      await this.camera.open(
        () => {
          showError(new Error("The camera was disconnected: open it again, or choose a photo."));
          this.closeCamera();
        },
        () => {
          if (generation === this.generation)
            notify("status", "The browser asks whether this page may use the camera: allow it, or choose a photo.");
        },
      );
    } catch (error) {
      if (generation === this.generation) showError(error);
      return;
    }
    if (generation !== this.generation) {
      this.camera.close();
      return;
    }
    hideNotice();
    const live = el(
      "button",
      {
        type: "button",
        class: "round-button translucent live-toggle",
        "aria-pressed": String(this.live),
        "aria-label": "Live predictions",
        click: () => this.toggleLive(live, generation),
      },
      icon("live"),
    );
    this.layout.showMedia(
      "camera",
      this.video,
      el(
        "div",
        { class: "camera-buttons" },
        el(
          "button",
          {
            type: "button",
            class: "round-button translucent",
            "aria-label": "Close camera",
            click: () => this.closeCamera(),
          },
          icon("close"),
        ),
        el("button", {
          type: "button",
          class: "shutter",
          "aria-label": "Take photo",
          click: () => void this.takePhoto(),
        }),
        live,
      ),
    );
    if (this.live) void this.runLive(generation);
    else this.layout.showPanel(this.hint(), this.status);
  }

  private hint(): HTMLElement {
    const text = this.views.length
      ? "Take another view of the same place."
      : "Point the camera at a street, a sign or a skyline and hold it still.";
    return el("p", { class: "hint" }, text);
  }

  private toggleLive(live: HTMLElement, generation: number): void {
    this.live = !this.live;
    live.setAttribute("aria-pressed", String(this.live));
    announce(this.live ? "Live predictions on." : "Live predictions off.");
    if (this.live) void this.runLive(generation);
  }

  /** Repeatedly predicts from the current camera image. */
  private async runLive(generation: number): Promise<void> {
    const run = ++this.liveRuns;
    const isCurrent = () => this.live && generation === this.generation && run === this.liveRuns;
    this.layout.map.showWorld();
    // The contents are replaced in place, which keeps the scroll position.
    const content = el("div");
    this.layout.showPanel(content, this.status);
    content.append(this.hint());
    const { signal } = this.current;
    try {
      while (isCurrent()) {
        const { blocked } = this.camera;
        if (blocked) content.replaceChildren(el("p", { class: "hint" }, blocked));
        else if (!document.hidden) {
          const frame = await this.camera.captureFrame();
          const views = [...this.views.map(({ blob }) => blob), frame];
          const show = (prediction: Prediction, isFinal: boolean) => {
            if (!isCurrent()) return;
            content.replaceChildren(predictionText(prediction, isFinal));
            showOnMap(this.layout, prediction, true);
          };
          // The steps of later images would alternate with the predictions of earlier ones.
          const onStep = (step: Prediction) => content.querySelector(".prediction") || show(step, false);
          show(await this.model.locate(views, { signal, onStep }), true);
          if (!isCurrent()) return;
        }
        await new Promise((done) => setTimeout(done, LIVE_PAUSE_MS));
      }
    } catch (error) {
      if (!isCurrent()) return;
      this.live = false;
      if (!content.querySelector(".prediction")) content.replaceChildren(this.hint());
      this.layout.element.querySelector(".live-toggle")?.setAttribute("aria-pressed", "false");
      showError(error);
    }
  }

  private async takePhoto(): Promise<void> {
    try {
      const image = await this.camera.captureJpeg();
      this.camera.close();
      await this.addViews([image]);
    } catch (error) {
      showError(error);
    }
  }

  /** Returns to the previous state. */
  private closeCamera(): void {
    this.camera.close();
    if (this.views.length) void this.addViews([]);
    else this.enter();
  }

  /** Adds views of the current place and predicts from all of them. Unreadable images are removed again. */
  private async addViews(images: Blob[]): Promise<void> {
    const generation = this.begin();
    const previous = this.views;
    const added = images.slice(0, MAX_VIEWS - previous.length).map(createView);
    this.views = [...previous, ...added];
    hideNotice();
    if (added.length < images.length)
      notify("status", `Up to ${MAX_VIEWS} views of a place are used; the others were ignored.`);
    this.showViews();
    this.layout.busy = true;
    this.layout.showPanel(el("p", { class: "hint pending" }, "Predicting…"), this.status);
    try {
      await this.predict();
    } catch (error) {
      if (generation !== this.generation) return;
      this.layout.busy = false;
      revokeViews(added);
      this.views = previous;
      if (previous.length && added.length) await this.addViews([]);
      else this.enter();
      showError(error);
    }
  }

  /** Predicts from the current views and shows the prediction. */
  private async predict(): Promise<void> {
    const { generation } = this;
    const { signal } = this.current;
    const prediction = await this.model.locate(
      this.views.map(({ blob }) => blob),
      { signal, onStep: (step) => generation === this.generation && this.showPrediction(step, false) },
    );
    if (generation !== this.generation) return;
    this.layout.busy = false;
    this.showPrediction(prediction, true);
  }

  /** Predicts once more, with a model that has just replaced the one that answered. */
  private async predictAgain(): Promise<void> {
    if (!this.shown) return;
    const { generation } = this;
    this.layout.busy = true;
    try {
      await this.predict();
    } catch (error) {
      if (generation === this.generation && !(error instanceof EngineError && error.kind === "cancelled"))
        showError(error);
    } finally {
      if (generation === this.generation) this.layout.busy = false;
    }
  }

  private showViews(): void {
    const name = this.example ? "Example photo" : "Your photo";
    this.layout.showMedia(
      "photo",
      gallery(this.views, name),
      el(
        "button",
        {
          type: "button",
          class: "round-button translucent media-close",
          "aria-label": "Close photo",
          click: () => this.enter(),
        },
        icon("close"),
      ),
    );
  }

  /** `isFinal`: whether all squares of the images have been used. */
  private showPrediction(prediction: Prediction, isFinal: boolean): void {
    const earlier = this.shown;
    this.shown = { prediction, truth: earlier?.truth ?? null };
    const text = predictionText(prediction, isFinal);
    if (earlier) this.updatePrediction(prediction, text);
    else this.showFirstPrediction(prediction, text);
    if (earlier && placeName(earlier.prediction) === placeName(prediction)) return;
    announce(`${confidenceLabel(prediction)}: ${placeName(prediction)}.`);
  }

  /** Replaces a prediction for the same views. Everything else stays, such as the focus and the scroll position. */
  private updatePrediction(prediction: Prediction, text: HTMLElement): void {
    this.layout.element.querySelector(".panel .prediction")?.replaceWith(text);
    showOnMap(this.layout, prediction);
    const output = this.layout.element.querySelector<HTMLElement>(".revealed");
    if (output && this.shown?.truth) void this.showTruth(output).catch(showError);
  }

  private showFirstPrediction(prediction: Prediction, text: HTMLElement): void {
    const revealed = el("div", { class: "revealed", role: "status" });
    const { example } = this;
    const isFull = this.views.length >= MAX_VIEWS;
    const shareButton = button("Share", "share", () => {
      if (this.shown) void share({ prediction: this.shown.prediction, image: this.views.at(-1)!.blob }).catch(showError);
    });
    const actions = el("div", { class: "actions actions-sticky" }, shareButton);
    const truth = el("div", { class: "truth" }, revealed);
    const revealButton = button(
      "How close?",
      "target",
      () => void this.reveal(truth, actions, shareButton).catch(showError),
      true,
    );
    actions.prepend(revealButton);
    this.layout.showPanel(
      truth,
      text,
      actions,
      !isFull &&
        el(
          "div",
          { class: "add-view" },
          el("h3", {}, "Add another view of this place"),
          el(
            "div",
            { class: "actions" },
            button("Camera", "camera", () => void this.openCamera()),
            photoPicker("Photos", (files) => void this.addViews(files)),
          ),
        ),
      example && creditLine(example.credit),
      this.status,
    );
    showOnMap(this.layout, prediction);
  }

  /** Shows the correct location: of the example, from the metadata or, if the user agrees, of the device. */
  private async reveal(container: HTMLElement, actions: HTMLElement, shareButton: HTMLElement): Promise<void> {
    const generation = this.generation;
    const output = container.querySelector<HTMLElement>(".revealed")!;
    const showTruthFrom = async (at: LatLng, source: string) => {
      if (!this.shown) return;
      this.shown.truth = { at, source };
      await this.showTruth(output);
      output.scrollIntoView({ block: "nearest" });
      // Move the share button next to the result, to leave the panel to the text.
      container.append(shareButton);
      actions.remove();
      shareButton.focus();
    };
    const truth = this.example?.truth ?? (await this.exifLocation());
    if (generation !== this.generation) return;
    if (truth) return showTruthFrom(truth, this.example?.name ?? "Location from the photo's GPS coordinates");
    const hereButton = button(
      "I am here",
      "target",
      () => {
        hereButton.disabled = true;
        deviceLocation()
          .then((place) =>
            generation === this.generation ? showTruthFrom(place, "Location of this device") : undefined,
          )
          .catch(showError)
          .finally(() => (hereButton.disabled = false));
      },
      true,
    );
    output.replaceChildren(
      el("p", {}, "These photos have no GPS coordinates. If you are there now, this device can provide the location."),
    );
    actions.replaceChildren(hereButton, shareButton);
    hereButton.focus();
  }

  private async exifLocation(): Promise<LatLng | null> {
    for (const { blob } of this.views) {
      const place = await readPhotoLocation(this.model, blob);
      if (place) return place;
    }
    return null;
  }

  /** Shows distance and score above the prediction. */
  private async showTruth(output: HTMLElement): Promise<void> {
    const { prediction, truth } = this.shown!;
    if (!truth) return;
    const { distanceKm, points } = await this.model.score(toLatLng(prediction), truth.at);
    if (this.shown?.prediction !== prediction) return;
    output.replaceChildren(
      el("p", { class: "error-distance" }, `${formatDistance(distanceKm * 1000)} off`),
      el("p", {}, `${formatCount(points)} of 5,000 points. ${truth.source}.`),
    );
    const { map } = this.layout;
    map.showMarkers(
      [
        { ...truth.at, kind: "truth" },
        { ...toLatLng(prediction), kind: "prediction" },
      ],
      [[toLatLng(prediction), truth.at]],
    );
    map.fitTo([toLatLng(prediction), truth.at], 24);
  }
}
