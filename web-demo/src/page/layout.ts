// What all of the page shares: the three parts of its stage, and how it speaks to the person.

import { el, type Child } from "../dom";
import { icon } from "./icons";
import { WorldMap } from "./world-map";
import { sentence } from "./labels";

/** The picture, the map and what is said of them. */
export class Stage {
  readonly map = new WorldMap();
  private readonly view = el("section", { class: "view", "aria-label": "Picture" });
  private readonly panel = el("section", { class: "panel", "aria-label": "Answer", tabindex: "0" });
  readonly element = el(
    "main",
    { class: "stage" },
    this.view,
    el("section", { class: "world", "aria-label": "Map" }, this.map.element),
    this.panel,
  );

  /** What is in the place of the picture. `name` says for the style sheet what that is. */
  showView(name: string, ...children: Child[]): void {
    this.element.dataset.view = name;
    this.replace(this.view, children);
  }

  /** Where a mode begins: an empty map of the world, and what can be done. */
  begin(mode: "look" | "play", title: string, words: string, ...actions: Child[]): void {
    this.element.dataset.mode = mode;
    this.busy = false;
    this.map.showHeat(null);
    this.map.showMarks([]);
    this.map.describe("World map");
    this.map.world();
    const hero = el("div", { class: "hero" }, el("h2", {}, title), el("p", {}, words), el("div", { class: "actions" }, ...actions));
    this.showView("start", hero);
  }

  showPanel(...children: Child[]): void {
    this.replace(this.panel, children);
    this.panel.scrollTop = 0;
  }

  /** What had the keyboard's focus and goes leaves it to the words. */
  private replace(part: HTMLElement, children: Child[]): void {
    const focused = part.contains(document.activeElement);
    part.replaceChildren(...nodes(children));
    if (focused && !part.contains(document.activeElement)) this.panel.focus({ preventScroll: true });
  }

  /** While something is worked out. */
  set busy(busy: boolean) {
    this.panel.setAttribute("aria-busy", String(busy));
  }
}

function nodes(children: Child[]): (Node | string)[] {
  return children.filter((child): child is Node | string => Boolean(child));
}

const spoken = el("p", { class: "unseen", role: "status" });
const notices = el("div", { class: "notices" });
/** Where messages stand; on the page from the start, so that screen readers hear what comes into them. */
export const voices = [spoken, notices];

/** Says something to those who do not see the page. */
export function announce(text: string): void {
  spoken.textContent = text;
}

/** Tells what went wrong, until it is closed or something else is told. */
export function showError(error: unknown): void {
  notify("alert", sentence(error));
}

export function notify(role: "alert" | "status", text: string, way?: { label: string; go: () => void }): void {
  const close = el("button", { type: "button", class: "round-button", "aria-label": "Close", click: hideNotice }, icon("close"));
  const act = way && el("button", { type: "button", class: "button button-small", click: way.go }, way.label);
  notices.replaceChildren(el("div", { class: "notice", role }, el("p", {}, text), act, close));
}

export function hideNotice(): void {
  notices.replaceChildren();
}

/** A button with an icon before its words. */
export function button(label: string, of: Parameters<typeof icon>[0] | null, click: () => void, main = false): HTMLButtonElement {
  return el("button", { type: "button", class: main ? "button button-main" : "button", click }, of && icon(of), label);
}
