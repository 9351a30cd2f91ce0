// The layout shared by both modes (photo, map, text panel), and messages to the user.

import { el, type Child } from "../dom";
import { icon } from "./icons";
import { WorldMap } from "./world-map";
import { errorMessage } from "./labels";

/** The main area: photo or camera, map and text panel. */
export class Layout {
  readonly map = new WorldMap();
  private readonly media = el("section", { class: "media", "aria-label": "Photo" });
  private readonly panel = el("section", { class: "panel", "aria-label": "Result", tabindex: "0" });
  readonly element = el(
    "main",
    { class: "layout" },
    this.media,
    el("section", { class: "map-area", "aria-label": "Map" }, this.map.element),
    this.panel,
  );

  /** Replaces the contents of the media area. `name` identifies them for the style sheet. */
  showMedia(name: string, ...children: Child[]): void {
    this.element.dataset.media = name;
    this.replace(this.media, children);
  }

  /** Shows the start of a mode: an empty world map, a title and actions. */
  showStart(mode: "locate" | "play", title: string, text: string, ...actions: Child[]): void {
    this.element.dataset.mode = mode;
    this.busy = false;
    this.map.showHeatmap(null);
    this.map.showMarkers([]);
    this.map.describe("World map");
    this.map.showWorld();
    const hero = el(
      "div",
      { class: "hero" },
      el("h2", {}, title),
      el("p", {}, text),
      el("div", { class: "actions" }, ...actions),
    );
    this.showMedia("start", hero);
  }

  showPanel(...children: Child[]): void {
    this.replace(this.panel, children);
    this.panel.scrollTop = 0;
  }

  /** If the focused element is removed, the focus moves to the panel. */
  private replace(part: HTMLElement, children: Child[]): void {
    const focused = part.contains(document.activeElement);
    part.replaceChildren(...nodes(children));
    if (focused && !part.contains(document.activeElement)) this.panel.focus({ preventScroll: true });
  }

  /** Marks the panel as busy for assistive technology. */
  set busy(busy: boolean) {
    this.panel.setAttribute("aria-busy", String(busy));
  }
}

function nodes(children: Child[]): (Node | string)[] {
  return children.filter((child): child is Node | string => Boolean(child));
}

const statusRegion = el("p", { class: "visually-hidden", role: "status" });
const notices = el("div", { class: "notices" });
/** Containers of messages. They must be on the page from the start so that screen readers announce changes in them. */
export const liveRegions = [statusRegion, notices];

/** Announces a text to screen readers. */
export function announce(text: string): void {
  statusRegion.textContent = text;
}

/** Shows an error until it is closed or replaced. */
export function showError(error: unknown): void {
  notify("alert", errorMessage(error));
}

export function notify(role: "alert" | "status", text: string, action?: { label: string; run: () => void }): void {
  const close = el(
    "button",
    { type: "button", class: "round-button", "aria-label": "Close", click: hideNotice },
    icon("close"),
  );
  const actionButton =
    action && el("button", { type: "button", class: "button button-small", click: action.run }, action.label);
  notices.replaceChildren(el("div", { class: "notice", role }, el("p", {}, text), actionButton, close));
}

export function hideNotice(): void {
  notices.replaceChildren();
}

/** A button with an optional icon before its label. */
export function button(
  label: string,
  iconName: Parameters<typeof icon>[0] | null,
  click: () => void,
  primary = false,
): HTMLButtonElement {
  return el(
    "button",
    { type: "button", class: primary ? "button button-main" : "button", click },
    iconName && icon(iconName),
    label,
  );
}
