// The map of the page: moved and zoomed by finger, mouse and keys; a pin is placed on it when asked for.

import { interpolateZoom } from "d3-interpolate";
import { select, type Selection } from "d3-selection";
import { zoom, zoomIdentity, zoomTransform, type ZoomBehavior } from "d3-zoom";
import { el } from "../dom";
import type { Prediction, LatLng } from "../engine/types";
import { draw, themeOf, viewOf, wholeWorld, type Mark, type Scene, type Theme, type View } from "./map-renderer";
import { heatOf } from "./heatmap";
import { icon } from "./icons";
import { drawTiles, ATTRIBUTION } from "./tiles";
import { coarseLand, fineLand, unproject, WORLD } from "./basemap";

/** Pixels a unit from which the finer coast is drawn. */
const FINE = 2.5;
const NEAREST = 400;
const STEP = 90;

const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export class WorldMap {
  private readonly canvas = el("canvas", { "aria-hidden": "true" });
  private readonly credit = el("p", { class: "map-credit" });
  private readonly box = el(
    "div",
    { class: "map-box", tabindex: "0", role: "application", "aria-roledescription": "map", keydown: (e) => this.onKey(e as KeyboardEvent) },
    this.canvas,
    el("div", { class: "map-cross", "aria-hidden": "true" }),
  );
  readonly element = el(
    "div",
    { class: "map" },
    this.box,
    el(
      "div",
      { class: "map-buttons" },
      el("button", { type: "button", class: "round-button", "aria-label": "Zoom in", click: () => this.by(2) }, icon("plus")),
      el("button", { type: "button", class: "round-button", "aria-label": "Zoom out", click: () => this.by(0.5) }, icon("minus")),
      el("button", { type: "button", class: "round-button", "aria-label": "Whole world", click: () => this.world() }, icon("globe")),
    ),
    this.credit,
  );
  private readonly zoom: ZoomBehavior<HTMLDivElement, unknown> = zoom<HTMLDivElement, unknown>();
  private readonly zoomed: Selection<HTMLDivElement, unknown, null, undefined>;
  private size: [number, number] = [0, 0];
  private theme!: Theme;
  private scene: Omit<Scene, "land"> = { heat: null, marks: [], lines: [], names: true };
  private answer: Prediction | null = null;
  private frame = 0;
  private flight = 0;
  private onPlace: ((place: LatLng) => void) | null = null;
  /** What to show, again when the box changes its size; `null` once the person has moved the map. */
  private wanted: { places: LatLng[]; nearest: number } | null = { places: [], nearest: NEAREST };
  private withTiles = false;

  constructor() {
    this.zoomed = select<HTMLDivElement, unknown>(this.box);
    this.zoom
      .constrain((t) => {
        const [, height] = this.size;
        const high = WORLD * t.k;
        // No empty sky above the north or below the south while there is enough earth to fill the box.
        const y = high <= height ? (height - high) / 2 : Math.min(0, Math.max(height - high, t.y));
        return y === t.y ? t : zoomIdentity.translate(t.x, y).scale(t.k);
      })
      .on("zoom", (event: { sourceEvent: unknown }) => {
        if (event.sourceEvent) {
          this.wanted = null;
          cancelAnimationFrame(this.flight);
        }
        this.paint();
      });
    this.zoomed.call(this.zoom).on("dblclick.zoom", null);
    this.box.addEventListener("click", (event) => this.put(event.offsetX, event.offsetY));
    this.describe("World map");
    new ResizeObserver(() => this.resize()).observe(this.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
  }

  /** What a screen reader says of the map. */
  describe(text: string): void {
    const keys = "Arrow keys move it, plus and minus zoom, zero shows the world";
    this.box.setAttribute("aria-label", `${text}. ${keys}${this.onPlace ? ", Enter places your pin in the middle" : ""}.`);
  }

  /** Shows an answer's heat and regions; `null` takes them away. */
  showHeat(answer: Prediction | null): void {
    this.answer = answer;
    this.scene.heat = answer && this.theme ? heatOf(answer, this.theme.accent) : null;
    this.paint();
  }

  showMarks(marks: Mark[], lines: [LatLng, LatLng][] = []): void {
    Object.assign(this.scene, { marks, lines });
    this.paint();
  }

  /** Lets the person place a pin, or no longer. */
  placing(onPlace: ((place: LatLng) => void) | null): void {
    this.onPlace = onPlace;
    this.element.toggleAttribute("data-placing", onPlace !== null);
  }

  /** Goes to where all places are seen, no nearer than `nearest` pixels a unit; without places, to the whole world. */
  go(places: LatLng[], nearest = 6): void {
    this.wanted = { places, nearest };
    this.fly(true);
  }

  world(): void {
    this.go([]);
  }

  /** Street tiles from the network under the answer, or Natural Earth alone. */
  set tiles(on: boolean) {
    this.withTiles = on;
    this.credit.textContent = on ? ATTRIBUTION : "";
    this.paint();
  }

  private get view(): View {
    return zoomTransform(this.box);
  }

  private set view({ k, x, y }: View) {
    this.zoomed.call(this.zoom.transform, zoomIdentity.translate(x, y).scale(k));
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.box;
    if (!clientWidth || !clientHeight) return;
    const [width, height] = this.size;
    const { k, x, y } = this.view;
    this.size = [clientWidth, clientHeight];
    const scale = Math.min(devicePixelRatio, 2.5);
    this.canvas.width = clientWidth * scale;
    this.canvas.height = clientHeight * scale;
    const least = (0.98 * clientWidth) / WORLD;
    this.zoom.scaleExtent([least, NEAREST]).extent([[0, 0], this.size]);
    const first = !this.theme;
    if (first) this.recolour();
    if (this.wanted) this.fly(false);
    else this.view = { k: Math.max(k, least), x: x + (clientWidth - width) / 2, y: y + (clientHeight - height) / 2 };
    // The earth takes a phone a while: words and buttons are shown before it, in a frame of their own.
    if (first) this.paint();
    else this.render();
  }

  private recolour(): void {
    this.theme = themeOf(this.element);
    this.showHeat(this.answer);
  }

  private fly(smoothly: boolean): void {
    const [width, height] = this.size;
    cancelAnimationFrame(this.flight);
    if (!this.wanted || !width) return;
    const { places, nearest } = this.wanted;
    const to = places.length ? viewOf(places, this.size, nearest) : wholeWorld(this.size);
    to.k = Math.max(to.k, (0.98 * width) / WORLD);
    if (!smoothly || reducedMotion() || document.hidden) {
      this.view = to;
      return;
    }
    const centre = ({ k, x, y }: View): [number, number, number] => [(width / 2 - x) / k, (height / 2 - y) / k, width / k];
    const from = centre(this.view);
    const goal = centre(to);
    // The short way round the earth.
    goal[0] -= WORLD * Math.round((goal[0] - from[0]) / WORLD);
    const way = interpolateZoom(from, goal);
    const lasts = Math.min(1400, Math.max(350, way.duration * 0.5));
    const began = performance.now();
    const step = (now: number) => {
      const t = Math.min(1, Math.max(0, (now - began) / lasts));
      const [u, v, w] = way(t < 0.5 ? 4 * t ** 3 : 1 - (2 - 2 * t) ** 3 / 2);
      const k = width / w;
      this.view = { k, x: width / 2 - u * k, y: height / 2 - v * k };
      if (t < 1) this.flight = requestAnimationFrame(step);
    };
    this.flight = requestAnimationFrame(step);
  }

  private by(factor: number): void {
    this.wanted = null;
    cancelAnimationFrame(this.flight);
    this.zoomed.call(this.zoom.scaleBy, factor);
  }

  private onKey(event: KeyboardEvent): void {
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [STEP, 0],
      ArrowRight: [-STEP, 0],
      ArrowUp: [0, STEP],
      ArrowDown: [0, -STEP],
    };
    const move = moves[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) {
      this.wanted = null;
      const { k } = this.view;
      this.zoomed.call(this.zoom.translateBy, move[0] / k, move[1] / k);
    } else if (event.key === "+" || event.key === "=") this.by(1.6);
    else if (event.key === "-") this.by(1 / 1.6);
    else if (event.key === "0") this.world();
    else if ((event.key === "Enter" || event.key === " ") && this.onPlace) this.put(this.size[0] / 2, this.size[1] / 2);
    else return;
    event.preventDefault();
  }

  private put(x: number, y: number): void {
    const view = this.view;
    this.onPlace?.(unproject([(x - view.x) / view.k, (y - view.y) / view.k]));
  }

  private paint(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => this.render());
  }

  private render(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const ctx = this.canvas.getContext("2d");
    if (!ctx || !this.theme) return;
    const view = this.view;
    const scale = this.canvas.width / this.size[0];
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    const land = view.k > FINE ? fineLand(() => this.paint()) : coarseLand();
    const tiles = this.withTiles ? () => drawTiles(ctx, this.size, view, () => this.paint()) : undefined;
    draw(ctx, this.size, view, { ...this.scene, land }, this.theme, tiles);
  }
}
