// The page of the review: map, pictures in view, one picture, and decisions.

import { el } from "../dom";
import { formatCount, type LatLng } from "../geometry";
import * as api from "./api";
import { Collection, type Dot } from "./collection";
import { PictureList } from "./picture-list";
import { PictureView } from "./picture-view";
import { ReviewMap } from "./review-map";
import { askToWrite } from "./write-dialog";

export class ReviewPage {
  private readonly collection: Collection;
  private readonly map: ReviewMap;
  private readonly list: PictureList;
  private readonly view: PictureView;
  private readonly counts = el("p", { class: "counts" });
  private readonly message = el("p", { class: "message", role: "status" });
  private readonly undoButton = el("button", { type: "button", class: "button", click: () => void this.undo() }, "Undo");
  private readonly placingBar = el(
    "div",
    { class: "placing-bar", role: "group", "aria-label": "Correct the location", hidden: true },
    el("p", {}, "Click the place on the map, or move the map."),
    el("button", { type: "button", class: "button primary", click: () => this.map.placeAtCentre() }, "Use the middle"),
    el("button", { type: "button", class: "button", click: () => this.stopPlacing() }, "Cancel"),
  );
  private chosen: number | null = null;

  constructor(root: HTMLElement, review: api.ReviewJson) {
    this.collection = new Collection(review);
    document.title = `Review of ${review.directory ?? "the pictures"}`;
    const writeButton = el(
      "button",
      { type: "button", class: "button", click: () => void this.attempt(() => askToWrite(root, this.collection, review)) },
      "Write…",
    );
    const mapFrame = el("section", { class: "map-frame", "aria-label": "Map" }, this.placingBar, legend());
    this.list = new PictureList(
      (id) => this.choose(id),
      () => this.acceptAll(),
      () => this.refresh(),
    );
    this.view = new PictureView({
      accept: () => void this.accept(),
      correct: () => this.startPlacing(),
      step: (by) => this.step(by),
      close: () => this.choose(null),
    });
    root.append(
      el(
        "header",
        { class: "bar" },
        el("h1", {}, review.directory ?? "Review"),
        this.counts,
        el("div", { class: "actions" }, this.undoButton, writeButton),
      ),
      el(
        "main",
        { class: "columns" },
        mapFrame,
        el("section", { class: "panel", "aria-label": "Pictures" }, this.message, this.view.element, this.list.element),
      ),
    );
    this.map = new ReviewMap(
      mapFrame,
      this.collection.dots,
      (id) => this.choose(id),
      () => this.refresh(),
    );
    document.addEventListener("keydown", (event) => this.onKey(event));
    if (review.have_location + review.failed > 0) {
      this.say(
        `Not shown: ${formatCount(review.have_location)} pictures that have a position, ` +
          `${formatCount(review.failed)} that could not be located.`,
      );
    }
    this.refresh();
  }

  private say(text: string): void {
    this.message.textContent = text;
  }

  /** Runs an action and shows its error, if any. */
  private async attempt(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.say(error instanceof Error ? error.message : String(error));
    }
  }

  private inView(): Dot[] {
    return this.collection.within(this.map.bounds, this.list.filter);
  }

  private refresh(): void {
    if (!this.map) return;
    const { dots, open, undoable } = this.collection;
    this.counts.textContent = `${formatCount(dots.length - open)} of ${formatCount(dots.length)} confirmed`;
    this.undoButton.disabled = undoable === 0;
    this.list.show(this.inView(), this.collection.paths);
  }

  private choose(id: number | null): void {
    this.stopPlacing();
    const before = this.chosen;
    this.chosen = id;
    this.list.element.hidden = id !== null;
    if (id === null) {
      this.view.hide();
      this.map.choose(null);
      this.refresh();
      if (before !== null) this.list.focus(before);
      return;
    }
    void this.attempt(async () => {
      const details = await api.readDetails(id);
      if (this.chosen !== id) return;
      this.view.show(details);
      this.map.choose(this.collection.dots[id]!, { lat: details.lat, lng: details.lng, km: details.circle_km });
    });
  }

  /** Goes to the next or the previous picture in view, which the filter lets through. */
  private step(by: 1 | -1): void {
    const ids = this.inView().map(({ id }) => id);
    if (ids.length === 0) return this.choose(null);
    const current = this.chosen ?? -1;
    const next = by === 1 ? ids.find((id) => id > current) : ids.filter((id) => id < current).at(-1);
    this.choose(next ?? (by === 1 ? ids[0]! : ids.at(-1)!));
  }

  private async apply(change: Promise<api.Changes>, describe: (count: number) => string): Promise<void> {
    const changes = await change;
    this.map.update(this.collection.apply(changes));
    this.say(describe(changes.dots.length));
    this.refresh();
  }

  private accept(): Promise<void> {
    const id = this.chosen;
    return this.attempt(async () => {
      if (id === null) return;
      await this.apply(api.accept([id]), (count) => (count ? "Accepted." : "This picture was confirmed already."));
      const later = this.inView().find((dot) => dot.status === "open" && dot.id > id);
      const next = later ?? this.inView().find((dot) => dot.status === "open");
      this.choose(next?.id ?? id);
    });
  }

  private acceptAll(): void {
    void this.attempt(() =>
      this.apply(api.acceptAll(this.map.bounds, this.list.filter.minP), (count) => `Accepted ${formatCount(count)}.`),
    );
  }

  private undo(): Promise<void> {
    return this.attempt(async () => {
      await this.apply(api.undo(), (count) => `Took the decision on ${formatCount(count)} back.`);
      if (this.chosen !== null) this.choose(this.chosen);
    });
  }

  private startPlacing(): void {
    const id = this.chosen;
    if (id === null) return;
    this.placingBar.hidden = false;
    this.map.startPlacing((at: LatLng) => {
      this.stopPlacing();
      void this.attempt(async () => {
        await this.apply(api.correct(id, at), () => "Corrected.");
        this.choose(id);
      });
    });
  }

  private stopPlacing(): void {
    this.placingBar.hidden = true;
    this.map.stopPlacing();
  }

  private onKey(event: KeyboardEvent): void {
    const isTyping = event.target instanceof HTMLInputElement && event.target.type !== "checkbox";
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping || document.querySelector("dialog[open]")) return;
    const isPlacing = !this.placingBar.hidden;
    const actions: Record<string, (() => void) | false> = {
      a: () => void this.accept(),
      c: () => this.startPlacing(),
      n: () => this.step(1),
      p: () => this.step(-1),
      u: () => !this.undoButton.disabled && void this.undo(),
      Escape: () => (isPlacing ? this.stopPlacing() : this.choose(null)),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

function legend(): HTMLElement {
  const entry = (status: api.Status, text: string) => el("li", { class: `legend-${status}` }, text);
  return el(
    "ul",
    { class: "legend", "aria-label": "Colours" },
    entry("open", "open"),
    entry("accepted", "accepted"),
    entry("corrected", "corrected"),
  );
}
