// Street tiles under the map, only when a person has asked for them: the one thing that comes from another origin.

import type { View } from "./map-renderer";
import { WORLD } from "./basemap";

/** The host must stand in the page's Content-Security-Policy too (index.html). */
const HOST = "https://tile.openstreetmap.org";
const SIDE = 256;
const DEEPEST = 19;
const KEPT = 300;

export const ATTRIBUTION = "© OpenStreetMap contributors";

const tiles = new Map<string, HTMLImageElement>();

/** Draws the tiles that are there and fetches those that are not; `then` is called when one has come. */
export function drawTiles(
  ctx: CanvasRenderingContext2D,
  [width, height]: [number, number],
  { k, x, y }: View,
  then: () => void,
): void {
  const zoom = Math.max(0, Math.min(DEEPEST, Math.round(Math.log2((k * WORLD) / SIDE))));
  const count = 2 ** zoom;
  const side = (k * WORLD) / count;
  for (let row = Math.max(0, Math.floor(-y / side)); row < count && y + row * side < height; row++) {
    for (let column = Math.floor(-x / side); x + column * side < width; column++) {
      const key = `${zoom}/${((column % count) + count) % count}/${row}`;
      const tile = tiles.get(key) ?? fetchTile(key, then);
      // A hair larger, so that no seams show.
      if (tile.naturalWidth) ctx.drawImage(tile, x + column * side, y + row * side, side + 0.5, side + 0.5);
    }
  }
}

function fetchTile(key: string, then: () => void): HTMLImageElement {
  const tile = new Image();
  tile.onload = then;
  tile.crossOrigin = "anonymous"; // what a page that is isolated asks of other origins
  tile.src = `${HOST}/${key}.png`;
  tiles.set(key, tile);
  const oldest = tiles.keys().next();
  if (tiles.size > KEPT && !oldest.done) tiles.delete(oldest.value);
  return tile;
}
