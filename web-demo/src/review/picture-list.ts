// The pictures in view as thumbnails, with the filter and the button that accepts all of them.

import { el } from "../dom";
import { formatCount } from "../geometry";
import type { Dot, Filter } from "./collection";

/** Number of thumbnails that are added at once. */
const PAGE = 48;

export const percent = (p: number) => `${Math.round(100 * p)} %`;

export class PictureList {
  private readonly range = el("input", { type: "range", min: "0", max: "100", value: "0", id: "least-p" });
  private readonly rangeText = el("output", { for: "least-p" }, "0 %");
  private readonly onlyOpen = el("input", { type: "checkbox", id: "only-open", checked: true });
  private readonly acceptAll: HTMLButtonElement;
  private readonly heading = el("h2", {});
  private readonly items = el("ul", { class: "thumbnails" });
  private readonly more: HTMLButtonElement;
  readonly element: HTMLElement;
  private shown = PAGE;
  private dots: Dot[] = [];
  private paths: string[] = [];

  constructor(
    private readonly onChoose: (id: number) => void,
    onAcceptAll: () => void,
    onFilter: () => void,
  ) {
    this.acceptAll = el("button", { type: "button", class: "button primary", click: onAcceptAll });
    const showMore = () => {
      this.shown += PAGE;
      this.draw();
    };
    this.more = el("button", { type: "button", class: "button", click: showMore }, "Show more");
    this.range.addEventListener("input", () => {
      this.rangeText.textContent = percent(this.filter.minP);
      onFilter();
    });
    this.onlyOpen.addEventListener("change", onFilter);
    this.element = el(
      "div",
      { class: "list" },
      el(
        "div",
        { class: "filters" },
        el("label", { for: "least-p" }, "Least probability"),
        this.range,
        this.rangeText,
        el("label", { class: "check" }, this.onlyOpen, "Only open"),
      ),
      this.heading,
      this.acceptAll,
      this.items,
      this.more,
    );
  }

  get filter(): Filter {
    return { minP: Number(this.range.value) / 100, onlyOpen: this.onlyOpen.checked };
  }

  show(dots: Dot[], paths: string[]): void {
    [this.dots, this.paths, this.shown] = [dots, paths, PAGE];
    const open = dots.filter(({ status }) => status === "open").length;
    this.heading.textContent = `${formatCount(dots.length)} ${dots.length === 1 ? "picture" : "pictures"} in view`;
    this.acceptAll.textContent = open === 0 ? "Nothing open in view" : `Accept all ${formatCount(open)} in view`;
    this.acceptAll.disabled = open === 0;
    this.draw();
  }

  /** Moves the focus to a picture, if it is shown. */
  focus(id: number): void {
    this.items.querySelector<HTMLElement>(`[data-id="${id}"]`)?.focus();
  }

  private draw(): void {
    const item = ({ id, p, status }: Dot) => {
      const path = this.paths[id] ?? "";
      const name = path.slice(path.lastIndexOf("/") + 1);
      return el(
        "li",
        {},
        el(
          "button",
          {
            type: "button",
            class: `thumbnail ${status}`,
            "data-id": String(id),
            title: path,
            click: () => this.onChoose(id),
          },
          el("img", { src: `/thumbnails/${id}`, alt: "", loading: "lazy", width: "160", height: "120" }),
          el("span", { class: "name" }, name),
          el("span", { class: "p" }, `${percent(p)}, ${status}`),
        ),
      );
    };
    this.items.replaceChildren(...this.dots.slice(0, this.shown).map(item));
    this.more.hidden = this.dots.length <= this.shown;
  }
}
