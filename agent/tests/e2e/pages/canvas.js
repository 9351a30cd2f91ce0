// A guess map that MapLibre GL draws, without tile pictures.

import * as maplibregl from "/lib/maplibre-gl/dist/maplibre-gl.mjs";
import { begin, number, options, placed } from "/pages/common.js";

/** Lines every ten degrees: faster to draw without a GPU than coastlines. */
function graticule() {
  const every = (from, to) => Array.from({ length: (to - from) / 10 + 1 }, (_, i) => from + 10 * i);
  const meridians = every(-180, 180).map((lng) => every(-80, 80).map((lat) => [lng, lat]));
  const parallels = every(-80, 80).map((lat) => every(-180, 180).map((lng) => [lng, lat]));
  return { type: "MultiLineString", coordinates: [...meridians, ...parallels] };
}

/** Coarse land polygons. */
async function land() {
  await import("/lib/topojson-client/dist/topojson-client.js");
  const world = await (await fetch("/lib/world-atlas/land-110m.json")).json();
  return globalThis.topojson.feature(world, world.objects.land);
}

const start = { center: [number("lng", 10), number("lat", 20)], zoom: number("zoom", 1) };
const map = new maplibregl.Map({
  container: "map",
  ...start,
  minZoom: number("min", 0),
  maxZoom: number("max", 12),
  renderWorldCopies: !options.has("single"),
  dragRotate: false,
  attributionControl: false,
  fadeDuration: 0,
  style: {
    version: 8,
    sources: {
      world: { type: "geojson", data: graticule() },
      ...(options.has("land") && { land: { type: "geojson", data: await land() } }),
    },
    layers: [
      { id: "sea", type: "background", paint: { "background-color": "#cde" } },
      ...(options.has("land") ? [{ id: "land", type: "fill", source: "land", paint: { "fill-color": "#eec" } }] : []),
      { id: "graticule", type: "line", source: "world", paint: { "line-color": "#456" } },
    ],
  },
});
const marker = new maplibregl.Marker();
map.on("click", ({ lngLat }) => {
  marker.setLngLat(lngLat).addTo(map);
  placed(lngLat.lat, lngLat.lng);
  if (options.has("recentre")) map.easeTo({ center: lngLat, duration: number("recentre", 0) });
});
await map.once("load");
begin({
  reset: () => {
    marker.remove();
    map.stop().jumpTo(start);
  },
  pixel: (lat, lng) => map.project([lng, lat]),
  world: () => 512 * 2 ** map.getZoom(),
});
