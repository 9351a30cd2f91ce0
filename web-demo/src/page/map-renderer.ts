// Draws the earth and what is on it, on any canvas: the map of the page and the picture that is shared.

import type { LatLng } from "../engine/types";
import { nearestCopy } from "../geometry";
import type { Heat } from "./heatmap";
import { project, trace, WORLD, type Land } from "./basemap";

/** The map's own units to pixels: `x = k · u + x`. */
export interface View {
  k: number;
  x: number;
  y: number;
}

export type MarkKind = "guess" | "player" | "truth";

export interface Mark extends LatLng {
  kind: MarkKind;
  label?: string;
}

export interface Scene {
  land: Land;
  heat: Heat | null;
  marks: Mark[];
  /** Pairs of places to be joined by the shortest way. */
  lines: [LatLng, LatLng][];
  names: boolean;
}

/** Colours, as the page's style sheet has them. */
export interface Theme {
  sea: string;
  land: string;
  border: string;
  text: string;
  accent: string;
  ink: string;
  paper: string;
}

export function themeOf(element: Element): Theme {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(`--map-${name}`).trim();
  return {
    sea: colour("sea"),
    land: colour("land"),
    border: colour("border"),
    text: colour("text"),
    accent: colour("accent"),
    ink: colour("ink"),
    paper: colour("paper"),
  };
}

/** Draws into the box from (0, 0) to (`width`, `height`); `tiles`, when there are some, lie under all but the land. */
export function draw(
  ctx: CanvasRenderingContext2D,
  [width, height]: [number, number],
  view: View,
  scene: Scene,
  theme: Theme,
  tiles?: () => void,
): void {
  ctx.fillStyle = theme.sea;
  ctx.fillRect(0, 0, width, height);
  tiles?.();
  const span = WORLD * view.k;
  const copies: number[] = [];
  for (let n = Math.floor(-view.x / span); n * span + view.x < width; n++) copies.push(n);
  const each = (paint: () => void) => {
    for (const n of copies) {
      ctx.save();
      ctx.translate(view.x + n * span, view.y);
      ctx.scale(view.k, view.k);
      paint();
      ctx.restore();
    }
  };
  const pixel = 1 / view.k;
  if (!tiles) {
    ctx.fillStyle = theme.land;
    each(() => ctx.fill(scene.land.land));
    ctx.strokeStyle = theme.border;
    ctx.lineWidth = pixel;
    each(() => ctx.stroke(scene.land.borders));
  }
  const { heat } = scene;
  if (heat) {
    each(() => ctx.drawImage(heat.picture, 0, 0, WORLD, WORLD));
    rim(ctx, [width, height], heat.most, theme.accent, 1, 0.5, each, pixel);
    rim(ctx, [width, height], heat.half, theme.accent, 1.75, 1, each, pixel);
  }
  if (scene.names && !tiles) nameCountries(ctx, [width, height], view, scene.land, theme);
  ctx.strokeStyle = theme.ink;
  ctx.lineWidth = 2 * pixel;
  ctx.lineCap = "round";
  ctx.setLineDash([pixel, 6 * pixel]);
  for (const [from, to] of scene.lines) {
    const line = trace({ type: "LineString", coordinates: [[from.lng, from.lat], [to.lng, to.lat]] });
    each(() => ctx.stroke(line));
  }
  ctx.setLineDash([]);
  for (const mark of scene.marks) {
    const [u, v] = project(mark);
    for (const n of copies) drawMark(ctx, [view.x + n * span + u * view.k, view.y + v * view.k], mark, theme);
  }
}

/** The rim of many touching shapes as one: both sides of all lines, less what lies inside. */
function rim(
  ctx: CanvasRenderingContext2D,
  [width, height]: [number, number],
  region: Path2D,
  colour: string,
  thick: number,
  alpha: number,
  each: (paint: () => void) => void,
  pixel: number,
): void {
  const { a: scale } = ctx.getTransform();
  const sheet = scratch(Math.ceil(width * scale), Math.ceil(height * scale));
  const ink = sheet.getContext("2d");
  if (!ink) return;
  ink.setTransform(1, 0, 0, 1, 0, 0);
  ink.clearRect(0, 0, sheet.width, sheet.height);
  each(() => {
    ink.setTransform(ctx.getTransform());
    ink.globalCompositeOperation = "source-over";
    ink.strokeStyle = colour;
    ink.lineWidth = 2 * thick * pixel;
    ink.lineJoin = "round";
    ink.stroke(region);
    ink.globalCompositeOperation = "destination-out";
    ink.fill(region);
  });
  ctx.globalAlpha = alpha;
  ctx.drawImage(sheet, 0, 0, sheet.width / scale, sheet.height / scale);
  ctx.globalAlpha = 1;
}

let sheet: HTMLCanvasElement | null = null;

function scratch(width: number, height: number): HTMLCanvasElement {
  sheet ??= document.createElement("canvas");
  if (sheet.width !== width || sheet.height !== height) [sheet.width, sheet.height] = [width, height];
  return sheet;
}

function nameCountries(
  ctx: CanvasRenderingContext2D,
  [width, height]: [number, number],
  view: View,
  land: Land,
  theme: Theme,
): void {
  const span = WORLD * view.k;
  ctx.font = "500 11px system-ui, sans-serif";
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillStyle = theme.text;
  for (const name of land.names) {
    if (span < name.from) continue;
    const [u, v] = project(name);
    const x = (((view.x + u * view.k) % span) + span) % span;
    const y = view.y + v * view.k;
    if (x < width && y > 0 && y < height) ctx.fillText(name.text, x, y);
  }
}

function drawMark(ctx: CanvasRenderingContext2D, [x, y]: [number, number], mark: Mark, theme: Theme): void {
  ctx.save();
  ctx.translate(x, y);
  ctx.lineWidth = 2;
  ctx.strokeStyle = theme.paper;
  if (mark.kind === "truth") {
    ctx.fillStyle = theme.ink;
    disc(ctx, 9);
    ctx.stroke();
    ctx.fillStyle = theme.paper;
    disc(ctx, 3.5);
  } else {
    ctx.fillStyle = mark.kind === "guess" ? theme.accent : theme.ink;
    ctx.beginPath();
    ctx.moveTo(0, 0);
    ctx.bezierCurveTo(-3, -8, -12, -14, -12, -23);
    ctx.arc(0, -23, 12, Math.PI, 0);
    ctx.bezierCurveTo(12, -14, 3, -8, 0, 0);
    ctx.closePath();
    ctx.fill();
    ctx.stroke();
    ctx.fillStyle = theme.paper;
    ctx.translate(0, -23);
    disc(ctx, 4.5);
  }
  ctx.restore();
  if (mark.label) drawLabel(ctx, [x, mark.kind === "truth" ? y + 21 : y - 48], mark.label, theme);
}

function disc(ctx: CanvasRenderingContext2D, radius: number): void {
  ctx.beginPath();
  ctx.arc(0, 0, radius, 0, 2 * Math.PI);
  ctx.fill();
}

function drawLabel(ctx: CanvasRenderingContext2D, [x, y]: [number, number], text: string, theme: Theme): void {
  ctx.font = "600 12px system-ui, sans-serif";
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  const half = ctx.measureText(text).width / 2 + 8;
  ctx.fillStyle = theme.paper;
  ctx.beginPath();
  ctx.roundRect(x - half, y - 11, 2 * half, 22, 11);
  ctx.fill();
  ctx.fillStyle = theme.ink;
  ctx.fillText(text, x, y + 0.5);
}

/** The view that shows all the places in a box, no nearer than `nearest` pixels a unit. */
export function viewOf(places: LatLng[], [width, height]: [number, number], nearest: number, edge = 56): View {
  const anchor = places[0];
  if (!anchor) return wholeWorld([width, height]);
  const spots = places.map((place) => {
    const copy = nearestCopy(place, anchor);
    const [u, v] = project(place);
    return [u + WORLD * Math.round((copy.lng - place.lng) / 360), v] as const;
  });
  const [left, right] = [Math.min(...spots.map(([u]) => u)), Math.max(...spots.map(([u]) => u))];
  const [top, bottom] = [Math.min(...spots.map(([, v]) => v)), Math.max(...spots.map(([, v]) => v))];
  // Pins and their labels stand above their places.
  const rise = 16;
  const room = [Math.max(width - 2 * edge, 40), Math.max(height - 2 * edge, 40)] as const;
  const k = Math.min(nearest, room[0] / Math.max(right - left, 1e-6), room[1] / Math.max(bottom - top, 1e-6));
  return { k, x: width / 2 - (k * (left + right)) / 2, y: height / 2 + rise - (k * (top + bottom)) / 2 };
}

/** All of the earth that people live on. */
export function wholeWorld([width, height]: [number, number]): View {
  // A narrow box shows a little less than all, rather than a strip.
  const k = Math.max(width / WORLD, Math.min(height / (0.72 * WORLD), (1.25 * width) / WORLD));
  return { k, x: width / 2 - (k * WORLD) / 2, y: height / 2 - 0.4 * WORLD * k };
}
