// One picture with its answer and the decisions on it.

import { el } from "../dom";
import { formatDistance, formatLatLng } from "../geometry";
import type { Details, Status } from "./api";
import { percent } from "./picture-list";

export interface Actions {
  accept: () => void;
  correct: () => void;
  step: (by: 1 | -1) => void;
  close: () => void;
}

const STATUS: Record<Status, string> = { open: "Open", accepted: "Accepted", corrected: "Corrected" };

export class PictureView {
  readonly element = el("div", { class: "picture", hidden: true });
  private readonly acceptButton: HTMLButtonElement;
  private readonly toolbar: HTMLElement;
  private readonly heading = el("h2", { tabindex: "-1" });
  private readonly frame = el("div", { class: "picture-frame" });
  private readonly facts = el("dl", { class: "facts" });

  constructor(actions: Actions) {
    const button = (text: string, key: string, click: () => void, className = "button") =>
      el("button", { type: "button", class: className, "aria-keyshortcuts": key, title: `Key: ${key}`, click }, text);
    this.acceptButton = button("Accept", "A", actions.accept, "button primary");
    this.toolbar = el(
      "div",
      { class: "toolbar" },
      this.acceptButton,
      button("Correct…", "C", actions.correct),
      button("Previous", "P", () => actions.step(-1)),
      button("Next", "N", () => actions.step(1)),
      button("All in view", "Escape", actions.close),
    );
    this.element.append(this.heading, this.frame, this.toolbar, this.facts);
  }

  show(details: Details): void {
    const isFirst = this.element.hidden;
    this.element.hidden = false;
    this.heading.textContent = details.path;
    const failed = () => this.frame.replaceChildren(el("p", {}, "This picture cannot be shown."));
    this.frame.replaceChildren(el("img", { src: `/pictures/${details.id}`, alt: `Picture ${details.path}`, error: failed }));
    this.acceptButton.disabled = details.status !== "open";
    const rows: [string, string][] = [
      ["Status", STATUS[details.status]],
      ["Estimate", `${details.place} (${formatLatLng(details)})`],
      ["Probability", `${percent(details.p)} within ${formatDistance(details.circle_km * 1000)}`],
    ];
    if (details.given) rows.push(["Given", details.given.hints.join("; ")]);
    if (details.same_as) rows.push(["Same as", details.same_as]);
    if (details.confirmed?.is_corrected) rows.push(["Corrected to", formatLatLng(details.confirmed)]);
    this.facts.replaceChildren(...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
    // The button that had the focus is gone with the list.
    if (isFirst) this.heading.focus();
  }

  hide(): void {
    this.element.hidden = true;
  }
}
