// A guess map of image tiles, drawn by Leaflet.

import * as L from "/lib/leaflet/dist/leaflet-src.esm.js";
import { begin, number, options, placed } from "/pages/common.js";

const animate = options.has("animate");
const start = [[number("lat", 20), number("lng", 10)], number("zoom", 1)];
const map = L.map("map", {
  minZoom: number("min", 1),
  maxZoom: number("max", 10),
  zoomAnimation: animate,
  fadeAnimation: animate,
  markerZoomAnimation: animate,
  zoomSnap: number("snap", 1),
});
map.setView(...start);
L.tileLayer("/tiles/{z}/{x}/{y}.png", { maxZoom: 20 }).addTo(map);
new ResizeObserver(() => map.invalidateSize({ animate: false })).observe(document.getElementById("map"));
const icon = L.divIcon({ className: "pin", iconSize: [28, 36], iconAnchor: [14, 36] });
const marker = L.marker([0, 0], { icon, interactive: false });
map.on("click", ({ latlng }) => {
  marker.setLatLng(latlng).addTo(map);
  placed(latlng.lat, latlng.lng);
  if (options.has("recentre")) map.panTo(latlng, { animate });
});
begin({
  reset: () => {
    marker.remove();
    map.setView(...start, { animate: false });
  },
  pixel: (lat, lng) => map.project([lat, lng]),
  world: () => 256 * 2 ** map.getZoom(),
});
