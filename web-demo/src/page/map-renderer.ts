// Draws the map with heatmap, markers and labels on a canvas: the page's map and the image to share.

import type { LatLng } from "../engine/types";
import { nearestCopy } from "../geometry";
import type { Heatmap } from "./heatmap";
import { project, toPath, WORLD_SIZE, type Basemap } from "./basemap";

/** Transform from map units to pixels: `(k · u + x, k · v + y)`. */
export interface MapTransform {
  k: number;
  x: number;
  y: number;
}

export type MarkerKind = "prediction" | "player" | "truth";

export interface MapMarker extends LatLng {
  kind: MarkerKind;
  label?: string;
}

export interface Scene {
  basemap: Basemap;
  heatmap: Heatmap | null;
  markers: MapMarker[];
  /** Pairs of places to connect with a great circle. */
  lines: [LatLng, LatLng][];
  /** Whether to draw the names of countries. */
  showLabels: boolean;
}

/** Colours from the style sheet. */
export interface Theme {
  sea: string;
  land: string;
  border: string;
  text: string;
  accent: string;
  foreground: string;
  background: string;
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
    foreground: colour("foreground"),
    background: colour("background"),
  };
}

/**
 * Draws into the box from (0, 0) to (`width`, `height`). `tiles`, if given, draws the background instead of the
 * basemap.
 */
export function drawMap(
  ctx: CanvasRenderingContext2D,
  [width, height]: [number, number],
  transform: MapTransform,
  scene: Scene,
  theme: Theme,
  tiles?: () => void,
): void {
  ctx.fillStyle = theme.sea;
  ctx.fillRect(0, 0, width, height);
  tiles?.();
  const worldWidth = WORLD_SIZE * transform.k;
  const copies: number[] = [];
  for (let n = Math.floor(-transform.x / worldWidth); n * worldWidth + transform.x < width; n++) copies.push(n);
  const forEachCopy = (paint: () => void) => {
    for (const n of copies) {
      ctx.save();
      ctx.translate(transform.x + n * worldWidth, transform.y);
      ctx.scale(transform.k, transform.k);
      paint();
      ctx.restore();
    }
  };
  const pixel = 1 / transform.k;
  if (!tiles) {
    ctx.fillStyle = theme.land;
    forEachCopy(() => ctx.fill(scene.basemap.land));
    ctx.strokeStyle = theme.border;
    ctx.lineWidth = pixel;
    forEachCopy(() => ctx.stroke(scene.basemap.borders));
  }
  const { heatmap } = scene;
  if (heatmap) {
    forEachCopy(() => ctx.drawImage(heatmap.image, 0, 0, WORLD_SIZE, WORLD_SIZE));
    strokeOutline(ctx, [width, height], heatmap.region90, theme.accent, 1, 0.5, forEachCopy, pixel);
    strokeOutline(ctx, [width, height], heatmap.region50, theme.accent, 1.75, 1, forEachCopy, pixel);
  }
  if (scene.showLabels && !tiles) drawCountryLabels(ctx, [width, height], transform, scene.basemap, theme);
  ctx.strokeStyle = theme.foreground;
  ctx.lineWidth = 2 * pixel;
  ctx.lineCap = "round";
  ctx.setLineDash([pixel, 6 * pixel]);
  for (const [from, to] of scene.lines) {
    const line = toPath({
      type: "LineString",
      coordinates: [
        [from.lng, from.lat],
        [to.lng, to.lat],
      ],
    });
    forEachCopy(() => ctx.stroke(line));
  }
  ctx.setLineDash([]);
  for (const marker of scene.markers) {
    const [u, v] = project(marker);
    for (const n of copies)
      drawMarker(ctx, [transform.x + n * worldWidth + u * transform.k, transform.y + v * transform.k], marker, theme);
  }
}

/** Strokes the outline of the union of touching shapes: draws all edges, then erases the interior. */
function strokeOutline(
  ctx: CanvasRenderingContext2D,
  [width, height]: [number, number],
  region: Path2D,
  colour: string,
  lineWidth: number,
  alpha: number,
  forEachCopy: (paint: () => void) => void,
  pixel: number,
): void {
  const { a: scale } = ctx.getTransform();
  const outlineCanvas = scratchCanvas(Math.ceil(width * scale), Math.ceil(height * scale));
  const outlineCtx = outlineCanvas.getContext("2d");
  if (!outlineCtx) return;
  outlineCtx.setTransform(1, 0, 0, 1, 0, 0);
  outlineCtx.clearRect(0, 0, outlineCanvas.width, outlineCanvas.height);
  forEachCopy(() => {
    outlineCtx.setTransform(ctx.getTransform());
    outlineCtx.globalCompositeOperation = "source-over";
    outlineCtx.strokeStyle = colour;
    outlineCtx.lineWidth = 2 * lineWidth * pixel;
    outlineCtx.lineJoin = "round";
    outlineCtx.stroke(region);
    outlineCtx.globalCompositeOperation = "destination-out";
    outlineCtx.fill(region);
  });
  ctx.globalAlpha = alpha;
  ctx.drawImage(outlineCanvas, 0, 0, outlineCanvas.width / scale, outlineCanvas.height / scale);
  ctx.globalAlpha = 1;
}

let outlineCanvas: HTMLCanvasElement | null = null;

function scratchCanvas(width: number, height: number): HTMLCanvasElement {
  outlineCanvas ??= document.createElement("canvas");
  if (outlineCanvas.width !== width || outlineCanvas.height !== height)
    [outlineCanvas.width, outlineCanvas.height] = [width, height];
  return outlineCanvas;
}

function drawCountryLabels(
  ctx: CanvasRenderingContext2D,
  [width, height]: [number, number],
  transform: MapTransform,
  basemap: Basemap,
  theme: Theme,
): void {
  const worldWidth = WORLD_SIZE * transform.k;
  ctx.font = "500 11px system-ui, sans-serif";
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillStyle = theme.text;
  for (const label of basemap.labels) {
    if (worldWidth < label.minWorldPx) continue;
    const [u, v] = project(label);
    const x = (((transform.x + u * transform.k) % worldWidth) + worldWidth) % worldWidth;
    const y = transform.y + v * transform.k;
    if (x < width && y > 0 && y < height) ctx.fillText(label.text, x, y);
  }
}

function drawMarker(ctx: CanvasRenderingContext2D, [x, y]: [number, number], marker: MapMarker, theme: Theme): void {
  ctx.save();
  ctx.translate(x, y);
  ctx.lineWidth = 2;
  ctx.strokeStyle = theme.background;
  if (marker.kind === "truth") {
    ctx.fillStyle = theme.foreground;
    fillCircle(ctx, 9);
    ctx.stroke();
    ctx.fillStyle = theme.background;
    fillCircle(ctx, 3.5);
  } else {
    ctx.fillStyle = marker.kind === "prediction" ? theme.accent : theme.foreground;
    ctx.beginPath();
    ctx.moveTo(0, 0);
    ctx.bezierCurveTo(-3, -8, -12, -14, -12, -23);
    ctx.arc(0, -23, 12, Math.PI, 0);
    ctx.bezierCurveTo(12, -14, 3, -8, 0, 0);
    ctx.closePath();
    ctx.fill();
    ctx.stroke();
    ctx.fillStyle = theme.background;
    ctx.translate(0, -23);
    fillCircle(ctx, 4.5);
  }
  ctx.restore();
  if (marker.label) drawLabel(ctx, [x, marker.kind === "truth" ? y + 21 : y - 48], marker.label, theme);
}

function fillCircle(ctx: CanvasRenderingContext2D, radius: number): void {
  ctx.beginPath();
  ctx.arc(0, 0, radius, 0, 2 * Math.PI);
  ctx.fill();
}

function drawLabel(ctx: CanvasRenderingContext2D, [x, y]: [number, number], text: string, theme: Theme): void {
  ctx.font = "600 12px system-ui, sans-serif";
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  const half = ctx.measureText(text).width / 2 + 8;
  ctx.fillStyle = theme.background;
  ctx.beginPath();
  ctx.roundRect(x - half, y - 11, 2 * half, 22, 11);
  ctx.fill();
  ctx.fillStyle = theme.foreground;
  ctx.fillText(text, x, y + 0.5);
}

/** The transform that fits all places into a box, with a scale of up to `maxScale` pixels per map unit. */
export function transformToFit(
  places: LatLng[],
  [width, height]: [number, number],
  maxScale: number,
  edge = 56,
): MapTransform {
  const anchor = places[0];
  if (!anchor) return transformToWorld([width, height]);
  const points = places.map((place) => {
    const copy = nearestCopy(place, anchor);
    const [u, v] = project(place);
    return [u + WORLD_SIZE * Math.round((copy.lng - place.lng) / 360), v] as const;
  });
  const [left, right] = [Math.min(...points.map(([u]) => u)), Math.max(...points.map(([u]) => u))];
  const [top, bottom] = [Math.min(...points.map(([, v]) => v)), Math.max(...points.map(([, v]) => v))];
  // Leave room for pins and labels above their places.
  const pinOffset = 16;
  const room = [Math.max(width - 2 * edge, 40), Math.max(height - 2 * edge, 40)] as const;
  const k = Math.min(maxScale, room[0] / Math.max(right - left, 1e-6), room[1] / Math.max(bottom - top, 1e-6));
  return { k, x: width / 2 - (k * (left + right)) / 2, y: height / 2 + pinOffset - (k * (top + bottom)) / 2 };
}

/** The transform that shows the inhabited part of the world. */
export function transformToWorld([width, height]: [number, number]): MapTransform {
  // In a narrow box, crop the world instead of showing it as a thin strip.
  const k = Math.max(width / WORLD_SIZE, Math.min(height / (0.72 * WORLD_SIZE), (1.25 * width) / WORLD_SIZE));
  return { k, x: width / 2 - (k * WORLD_SIZE) / 2, y: height / 2 - 0.4 * WORLD_SIZE * k };
}
