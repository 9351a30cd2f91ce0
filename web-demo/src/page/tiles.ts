// Street map tiles, only if enabled in the settings: the page's only requests to another origin.

import type { MapTransform } from "./map-renderer";
import { WORLD_SIZE } from "./basemap";

/** Must also be allowed by the page's Content-Security-Policy (build/service-worker.ts). */
const TILE_HOST = "https://tile.openstreetmap.org";
const TILE_SIZE = 256;
const MAX_ZOOM = 19;
const MAX_CACHED_TILES = 300;

export const ATTRIBUTION = "© OpenStreetMap contributors";

const tiles = new Map<string, HTMLImageElement>();

/** Draws the tiles that are loaded and requests the others; `onLoad` is called when one has arrived. */
export function drawTiles(
  ctx: CanvasRenderingContext2D,
  [width, height]: [number, number],
  { k, x, y }: MapTransform,
  onLoad: () => void,
): void {
  const zoom = Math.max(0, Math.min(MAX_ZOOM, Math.round(Math.log2((k * WORLD_SIZE) / TILE_SIZE))));
  const count = 2 ** zoom;
  const size = (k * WORLD_SIZE) / count;
  for (let row = Math.max(0, Math.floor(-y / size)); row < count && y + row * size < height; row++) {
    for (let column = Math.floor(-x / size); x + column * size < width; column++) {
      const key = `${zoom}/${((column % count) + count) % count}/${row}`;
      const tile = tiles.get(key) ?? fetchTile(key, onLoad);
      // Half a pixel larger, to hide seams.
      if (tile.naturalWidth) ctx.drawImage(tile, x + column * size, y + row * size, size + 0.5, size + 0.5);
    }
  }
}

function fetchTile(key: string, onLoad: () => void): HTMLImageElement {
  const tile = new Image();
  tile.onload = onLoad;
  tile.crossOrigin = "anonymous"; // required in a cross-origin isolated page
  tile.src = `${TILE_HOST}/${key}.png`;
  tiles.set(key, tile);
  const oldest = tiles.keys().next();
  if (tiles.size > MAX_CACHED_TILES && !oldest.done) tiles.delete(oldest.value);
  return tile;
}
