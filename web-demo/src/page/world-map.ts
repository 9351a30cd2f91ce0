// The interactive map: pan and zoom with touch, mouse and keyboard, and optionally place a pin.

import { interpolateZoom } from "d3-interpolate";
import { select, type Selection } from "d3-selection";
import { zoom, zoomIdentity, zoomTransform, type ZoomBehavior } from "d3-zoom";
import { el } from "../dom";
import type { Prediction, LatLng } from "../engine/types";
import {
  drawMap,
  themeOf,
  transformToFit,
  transformToWorld,
  type MapMarker,
  type Scene,
  type Theme,
  type MapTransform,
} from "./map-renderer";
import { createHeatmap } from "./heatmap";
import { icon } from "./icons";
import { drawTiles, ATTRIBUTION } from "./tiles";
import { coarseBasemap, fineBasemap, unproject, WORLD_SIZE } from "./basemap";

/** Scale, in pixels per map unit, from which the detailed basemap is drawn. */
const FINE_BASEMAP_SCALE = 2.5;
const MAX_SCALE = 400;
const PAN_STEP_PX = 90;

const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export class WorldMap {
  private readonly canvas = el("canvas", { "aria-hidden": "true" });
  private readonly credit = el("p", { class: "map-attribution" });
  private readonly box = el(
    "div",
    {
      class: "map-viewport",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "map",
      keydown: (e) => this.onKey(e as KeyboardEvent),
    },
    this.canvas,
    el("div", { class: "map-crosshair", "aria-hidden": "true" }),
  );
  readonly element = el(
    "div",
    { class: "map" },
    this.box,
    el(
      "div",
      { class: "map-buttons" },
      el(
        "button",
        { type: "button", class: "round-button", "aria-label": "Zoom in", click: () => this.zoomBy(2) },
        icon("plus"),
      ),
      el(
        "button",
        { type: "button", class: "round-button", "aria-label": "Zoom out", click: () => this.zoomBy(0.5) },
        icon("minus"),
      ),
      el(
        "button",
        { type: "button", class: "round-button", "aria-label": "Whole world", click: () => this.showWorld() },
        icon("globe"),
      ),
    ),
    this.credit,
  );
  private readonly zoom: ZoomBehavior<HTMLDivElement, unknown> = zoom<HTMLDivElement, unknown>();
  private readonly selection: Selection<HTMLDivElement, unknown, null, undefined>;
  private size: [number, number] = [0, 0];
  private theme!: Theme;
  private scene: Omit<Scene, "basemap"> = { heatmap: null, markers: [], lines: [], showLabels: true };
  private prediction: Prediction | null = null;
  private frame = 0;
  private animationFrame = 0;
  private onPlace: ((place: LatLng) => void) | null = null;
  /** What the map shows, also after a resize; `null` once the user has moved the map. */
  private target: { places: LatLng[]; maxScale: number } | null = { places: [], maxScale: MAX_SCALE };
  private tilesEnabled = false;

  constructor() {
    this.selection = select<HTMLDivElement, unknown>(this.box);
    this.zoom
      .constrain((t) => {
        const [, height] = this.size;
        const worldHeight = WORLD_SIZE * t.k;
        // No empty space beyond the poles if the world is higher than the box.
        const y = worldHeight <= height ? (height - worldHeight) / 2 : Math.min(0, Math.max(height - worldHeight, t.y));
        return y === t.y ? t : zoomIdentity.translate(t.x, y).scale(t.k);
      })
      .on("zoom", (event: { sourceEvent: unknown }) => {
        if (event.sourceEvent) {
          this.target = null;
          cancelAnimationFrame(this.animationFrame);
        }
        this.requestRender();
      });
    this.selection.call(this.zoom).on("dblclick.zoom", null);
    this.box.addEventListener("click", (event) => this.placeAt(event.offsetX, event.offsetY));
    this.describe("World map");
    new ResizeObserver(() => this.resize()).observe(this.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.updateTheme());
  }

  /** Sets the accessible name of the map. */
  describe(text: string): void {
    const keys = "Arrow keys pan, plus and minus zoom, zero shows the whole world";
    this.box.setAttribute(
      "aria-label",
      `${text}. ${keys}${this.onPlace ? ", Enter places your pin at the centre" : ""}.`,
    );
  }

  /** Shows the heatmap and credible regions of a prediction; `null` removes them. */
  showHeatmap(prediction: Prediction | null): void {
    this.prediction = prediction;
    this.scene.heatmap = prediction && this.theme ? createHeatmap(prediction, this.theme.accent) : null;
    this.requestRender();
  }

  showMarkers(markers: MapMarker[], lines: [LatLng, LatLng][] = []): void {
    Object.assign(this.scene, { markers, lines });
    this.requestRender();
  }

  /** Enables placing a pin; `null` disables it. */
  setPlacing(onPlace: ((place: LatLng) => void) | null): void {
    this.onPlace = onPlace;
    this.element.toggleAttribute("data-placing", onPlace !== null);
  }

  /** Moves the map to show all places, at up to `maxScale` pixels per map unit; without places, to the whole world. */
  fitTo(places: LatLng[], maxScale = 6): void {
    this.target = { places, maxScale };
    this.animateToTarget(true);
  }

  showWorld(): void {
    this.fitTo([]);
  }

  /** Whether to show street map tiles from the network instead of Natural Earth. */
  set tiles(on: boolean) {
    this.tilesEnabled = on;
    this.credit.textContent = on ? ATTRIBUTION : "";
    this.requestRender();
  }

  private get transform(): MapTransform {
    return zoomTransform(this.box);
  }

  private set transform({ k, x, y }: MapTransform) {
    this.selection.call(this.zoom.transform, zoomIdentity.translate(x, y).scale(k));
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.box;
    if (!clientWidth || !clientHeight) return;
    const [width, height] = this.size;
    const { k, x, y } = this.transform;
    this.size = [clientWidth, clientHeight];
    const scale = Math.min(devicePixelRatio, 2.5);
    this.canvas.width = clientWidth * scale;
    this.canvas.height = clientHeight * scale;
    const minScale = (0.98 * clientWidth) / WORLD_SIZE;
    this.zoom.scaleExtent([minScale, MAX_SCALE]).extent([[0, 0], this.size]);
    const first = !this.theme;
    if (first) this.updateTheme();
    if (this.target) this.animateToTarget(false);
    else
      this.transform = {
        k: Math.max(k, minScale),
        x: x + (clientWidth - width) / 2,
        y: y + (clientHeight - height) / 2,
      };
    // Drawing the world takes a while on a phone: let the text and buttons appear one frame earlier.
    if (first) this.requestRender();
    else this.render();
  }

  private updateTheme(): void {
    this.theme = themeOf(this.element);
    this.showHeatmap(this.prediction);
  }

  private animateToTarget(animate: boolean): void {
    const [width, height] = this.size;
    cancelAnimationFrame(this.animationFrame);
    if (!this.target || !width) return;
    const { places, maxScale } = this.target;
    const to = places.length ? transformToFit(places, this.size, maxScale) : transformToWorld(this.size);
    to.k = Math.max(to.k, (0.98 * width) / WORLD_SIZE);
    if (!animate || reducedMotion() || document.hidden) {
      this.transform = to;
      return;
    }
    const centre = ({ k, x, y }: MapTransform): [number, number, number] => [
      (width / 2 - x) / k,
      (height / 2 - y) / k,
      width / k,
    ];
    const from = centre(this.transform);
    const end = centre(to);
    // Take the shorter way around the world.
    end[0] -= WORLD_SIZE * Math.round((end[0] - from[0]) / WORLD_SIZE);
    const interpolate = interpolateZoom(from, end);
    const durationMs = Math.min(1400, Math.max(350, interpolate.duration * 0.5));
    const startMs = performance.now();
    const step = (now: number) => {
      const t = Math.min(1, Math.max(0, (now - startMs) / durationMs));
      const [u, v, w] = interpolate(t < 0.5 ? 4 * t ** 3 : 1 - (2 - 2 * t) ** 3 / 2);
      const k = width / w;
      this.transform = { k, x: width / 2 - u * k, y: height / 2 - v * k };
      if (t < 1) this.animationFrame = requestAnimationFrame(step);
    };
    this.animationFrame = requestAnimationFrame(step);
  }

  private zoomBy(factor: number): void {
    this.target = null;
    cancelAnimationFrame(this.animationFrame);
    this.selection.call(this.zoom.scaleBy, factor);
  }

  private onKey(event: KeyboardEvent): void {
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [PAN_STEP_PX, 0],
      ArrowRight: [-PAN_STEP_PX, 0],
      ArrowUp: [0, PAN_STEP_PX],
      ArrowDown: [0, -PAN_STEP_PX],
    };
    const move = moves[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) {
      this.target = null;
      const { k } = this.transform;
      this.selection.call(this.zoom.translateBy, move[0] / k, move[1] / k);
    } else if (event.key === "+" || event.key === "=") this.zoomBy(1.6);
    else if (event.key === "-") this.zoomBy(1 / 1.6);
    else if (event.key === "0") this.showWorld();
    else if ((event.key === "Enter" || event.key === " ") && this.onPlace)
      this.placeAt(this.size[0] / 2, this.size[1] / 2);
    else return;
    event.preventDefault();
  }

  private placeAt(x: number, y: number): void {
    const transform = this.transform;
    this.onPlace?.(unproject([(x - transform.x) / transform.k, (y - transform.y) / transform.k]));
  }

  private requestRender(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => this.render());
  }

  private render(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const ctx = this.canvas.getContext("2d");
    if (!ctx || !this.theme) return;
    const transform = this.transform;
    const scale = this.canvas.width / this.size[0];
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    const basemap = transform.k > FINE_BASEMAP_SCALE ? fineBasemap(() => this.requestRender()) : coarseBasemap();
    const tiles = this.tilesEnabled
      ? () => drawTiles(ctx, this.size, transform, () => this.requestRender())
      : undefined;
    drawMap(ctx, this.size, transform, { ...this.scene, basemap }, this.theme, tiles);
  }
}
