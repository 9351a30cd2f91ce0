// A game of two photos with one peculiarity per word in `?v=`. It sends every guess to /guess, as it took it itself.

const words = (new URLSearchParams(location.search).get("v") ?? "").split(",");
const is = (word) => words.includes(word);
const $ = (id) => document.getElementById(id);
const TRUTHS = [[-13.16, -72.55], [41.89, 12.49]];
const style = (text) => document.head.append(Object.assign(document.createElement("style"), { textContent: text }));
let round = -1, total = 0, pin = null, map = null, drop = null, fit = null, isFocused = false, isAsked = false;

if (is("below")) style("#view{position:static;height:600px} #side{position:static;margin:300px auto 100px}");
// The page scales its map, but takes pixels of the window for those of the map.
if (is("forgets")) style("#side{transform:scale(1.25);transform-origin:100% 100%}");
// The result slides in from below the window, and out again.
if (is("slides")) style("#result[hidden]{display:block!important;transform:translateY(110%)} #result{transition:transform .6s}");
if (is("covered")) style("#welcome{background:#fffc}");
else style("body.before #view, body.before #side { visibility: hidden }");
if (is("drawer")) style("#side{right:-600px;transition:right .4s} #side.open{right:20px}");
if (is("modal")) style("#side{visibility:hidden} #side.open{visibility:visible;bottom:150px}");
if (is("stays")) style("#welcome{inset:auto auto 0 0;background:none;padding:0} #welcome h1{display:none}");
document.body.className = "before";

/** Fades an element out, during which it still takes presses. */
function leave(element, then) {
  if (!is("fading")) { element.hidden = true; return then?.() }
  element.style.transition = "opacity .5s";
  element.style.opacity = 0;
  setTimeout(() => {
    Object.assign(element.style, { transition: "", opacity: 1 });
    element.hidden = true;
  }, 500);
  then?.();
}

async function tiles() {
  const L = await import("/lib/leaflet/dist/leaflet-src.esm.js");
  const view = L.map("map", { scrollWheelZoom: !is("ctrl"), doubleClickZoom: false, zoomControl: false, attributionControl: false });
  L.tileLayer("/tiles/{z}/{x}/{y}.png", { maxZoom: 12, tms: is("tms") }).addTo(view);
  view.setView([20, 0], 1);
  if (is("ctrl")) $("map").addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const at = view.mouseEventToContainerPoint(event);
    view.setZoomAround(at, view.getZoom() - Math.sign(event.deltaY), { animate: false });
  }, { passive: false });
  if (is("minimap")) {
    const box = Object.assign(document.createElement("div"), { id: "mini" });
    box.style.cssText = "position:absolute;right:4px;bottom:4px;width:90px;height:70px;overflow:hidden;z-index:800";
    $("map").append(box);
    const mini = L.map(box, { zoomControl: false, attributionControl: false }).setView([0, 0], 0);
    L.tileLayer("/tiles/{z}/{x}/{y}.png").addTo(mini);
  }
  const marker = L.marker([0, 0], { interactive: false });
  let waiting = null;
  const put = ({ latlng, originalEvent }) => {
    if (is("focus") && !isFocused) { isFocused = true; return }
    if (is("forgets")) {
      const r = $("map").getBoundingClientRect();
      latlng = view.containerPointToLatLng([originalEvent.clientX - r.left, originalEvent.clientY - r.top]);
    }
    marker.setLatLng(latlng).addTo(view);
    placed(latlng.lat, latlng.lng);
  };
  view.on("click", (event) => {
    if (!is("late")) return put(event);
    // A second click is a double click.
    if (waiting) { clearTimeout(waiting); waiting = null; view.setZoomAround(event.containerPoint, view.getZoom() + 1); return }
    waiting = setTimeout(() => { waiting = null; put(event) }, 700);
  });
  drop = () => { marker.remove(); view.setView([20, 0], 1, { animate: false }) };
  map = view;
}

async function drawn() {
  const maplibregl = await import("/lib/maplibre-gl/dist/maplibre-gl.mjs");
  const home = { center: [0, 20], zoom: 0.3 };
  const every = (from, to) => Array.from({ length: (to - from) / 10 + 1 }, (_, i) => from + 10 * i);
  const lines = [...every(-180, 180).map((lng) => every(-80, 80).map((lat) => [lng, lat])), ...every(-80, 80).map((lat) => every(-180, 180).map((lng) => [lng, lat]))];
  // Shapes unlike any land, so that the map is recognised only by its own pictures.
  const shapes = [[[-170, 60], [-125, 15], [-175, -30]], [[-50, 55], [-20, 30], [-45, -10]], [[-20, -5], [5, -40], [-30, -55]],
    [[40, 75], [65, 30], [15, 50]], [[60, 20], [100, -45], [45, -50]], [[110, 60], [170, 40], [130, -5]]];
  const land = { type: "MultiPolygon", coordinates: shapes.map((shape) => [[...shape, shape[0]]]) };
  const view = new maplibregl.Map({
    container: "map", ...home, attributionControl: false, dragRotate: false,
    style: { version: 8, sources: { land: { type: "geojson", data: land }, grid: { type: "geojson", data: { type: "MultiLineString", coordinates: lines } } },
      layers: [{ id: "sea", type: "background", paint: { "background-color": "#cde" } }, is("keeps") ? { id: "land", type: "fill", source: "land", paint: { "fill-color": "#a96" } } : { id: "grid", type: "line", source: "grid", paint: { "line-color": "#456" } }] },
  });
  const marker = new maplibregl.Marker();
  view.on("click", ({ lngLat }) => {
    marker.setLngLat(lngLat).addTo(view);
    placed(lngLat.lat, lngLat.lng);
    if (is("zooms")) view.easeTo({ center: lngLat, zoom: Math.max(view.getZoom(), 2.5) });
  });
  drop = () => { marker.remove(); if (!is("keeps")) view.stop().jumpTo(home) };
  fit = (a, b) => view.fitBounds([[Math.min(a[1], b[1]), Math.min(a[0], b[0])], [Math.max(a[1], b[1]), Math.max(a[0], b[0])]], { padding: 50, duration: 500 });
  await view.once("load");
  map = view;
}

/** A question for consent in a frame of another origin, over the guess button. */
function ask() {
  isAsked = true;
  const frame = Object.assign(document.createElement("iframe"), { src: location.origin.replace("127.0.0.1", "localhost") + "/consent" });
  frame.style.cssText = "position:fixed;left:0;bottom:0;width:100vw;height:70px;border:0;z-index:99";
  document.body.append(frame);
  addEventListener("message", (event) => { if (event.data === "ok") frame.remove() });
}

function placed(lat, lng) {
  pin = [lat, lng];
  if (is("asks") && !isAsked) ask();
  if (!is("toast")) return;
  const toast = Object.assign(document.createElement("div"), { textContent: "Pin placed" });
  const r = $("send").getBoundingClientRect();
  toast.style.cssText = `position:fixed;z-index:60;background:#333;left:${r.left}px;top:${r.top}px;width:${r.width}px;height:${r.height}px`;
  document.body.append(toast);
  setTimeout(() => toast.remove(), 3000);
}

function begin() {
  pin = null;
  isFocused = false;
  $("photo").src = `/photo/${round}.jpg`;
  $("open").hidden = !is("modal") && !is("drawer");
  if (is("drawer")) $("open").textContent = "Atlas ↗"; // no known word
  drop();
}

async function start() {
  round = 0;
  total = 0;
  document.body.className = "";
  if (!map) await (is("drawn") ? drawn() : tiles());
  begin();
}

function distance(a, b) {
  const r = Math.PI / 180;
  const h = Math.sin(((b[0] - a[0]) * r) / 2) ** 2 + Math.cos(a[0] * r) * Math.cos(b[0] * r) * Math.sin(((b[1] - a[1]) * r) / 2) ** 2;
  return 12742 * Math.asin(Math.sqrt(h));
}

function guess() {
  if (!pin) return;
  if (is("liar")) pin = [pin[0] + (pin[0] > 0 ? -8 : 8), pin[1]];
  const [lat, lng] = pin;
  navigator.sendBeacon("/guess", JSON.stringify({ round, lat, lng }));
  const km = distance(pin, TRUTHS[round]);
  const points = is("otherlaw") ? Math.round(5000 / (1 + km / 250)) : Math.round(5000 * Math.exp(-km / 2000));
  total += points;
  const number = (n) => Math.round(n).toLocaleString(is("arabic") ? "ar-EG" : "en");
  $("off").textContent = is("arabic") ? `المسافة ${number(km)} كم` : `You were ${number(km)} km off`;
  $("points").textContent = is("arabic") ? `${number(points)} نقطة` : is("sentence") ? `You were ${number(km)} km off and got ${number(points)} points!` : `${number(points)} points`;
  if (is("mute")) $("points").textContent = "";
  if (is("halts")) {
    // Counts up in two steps.
    const all = $("points").textContent;
    $("points").textContent = `${number(points / 2)} points`;
    setTimeout(() => { $("points").textContent = all }, 700);
  }
  if (is("keeps")) fit(pin, TRUTHS[round]);
  Object.assign($("mine").dataset, { lat, lng });
  $("result").hidden = false;
  $("side").classList.remove("open");
}

function next() {
  round++;
  if (round < TRUTHS.length) return begin();
  for (const id of ["view", "side", "open"]) $(id).hidden = true;
  if (is("restart")) return ($("welcome").hidden = false);
  $("final").textContent = is("mute") ? "Well played in 2 rounds" : `Final score: ${total.toLocaleString("en")}`;
  $("final").hidden = false;
}

$("go").onclick = () => {
  if (is("restart")) for (const id of ["view", "side"]) $(id).hidden = false;
  if (is("stays")) { $("result").hidden = true; return start() }
  leave($("welcome"), start);
};
$("send").onclick = guess;
$("next").onclick = () => leave($("result"), next);
$("open").onclick = () => { $("side").classList.add("open"); $("open").hidden = true };
if (is("modes")) {
  // No button says that it starts a game, and the first leads nowhere.
  $("go").remove();
  for (const [text, works] of [["Country quiz", false], ["Classic", true], ["Settings", false]]) {
    const button = Object.assign(document.createElement("button"), { className: "mode", textContent: text });
    button.onclick = () => works && leave($("welcome"), start);
    $("welcome").append(button);
  }
}
if (is("consent")) {
  const wall = document.createElement("div");
  wall.style.cssText = "position:fixed;inset:0;background:#000a;z-index:9999";
  wall.innerHTML = "<div style='background:#fff;padding:20px'><h2>We value your privacy</h2><div class=b>Accept all</div> <div class=b>Manage options</div></div>";
  wall.querySelector(".b").onclick = () => wall.remove();
  document.body.append(wall);
}
