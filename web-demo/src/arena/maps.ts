// The two maps: the small one on which the pin is placed, and the one that shows how far off it was.

import "leaflet/dist/leaflet.css";
import * as L from "leaflet";
import { el, pinSvg, set } from "./dom";
import { greatCircle, nearestCopy, wrapLng, type LatLng } from "../geometry";
import { carried, isPlain } from "./structure";

/** Tiles by their numbers; the live page's addresses have them among other things. */
const TILES = "/tiles/{z}/{x}/{y}.png";
const LIVE_TILES = "/maps/vt?pb=!1m5!1m4!1i{z}!2i{x}!3i{y}!4i256!2m3!1e0!2sm!3i715";

/** How long the map stays large when the pointer has left it, in milliseconds. */
const SHRINK_AFTER_MS = 700;

function slippyMap(container: HTMLElement, options: L.MapOptions): L.Map {
  const map = L.map(container, {
    minZoom: 1,
    maxZoom: 10,
    zoomControl: false,
    attributionControl: false,
    maxBounds: L.latLngBounds([-85.06, -Infinity], [85.06, Infinity]),
    maxBoundsViscosity: 1,
    ...options,
  });
  L.control.attribution({ prefix: false }).addTo(map);
  L.tileLayer(isPlain() ? TILES : LIVE_TILES, { maxZoom: 10, attribution: "Natural Earth" }).addTo(map);
  // The map follows its box through every step of an animation.
  const observer = new ResizeObserver(() => map.invalidateSize({ animate: false }));
  observer.observe(container);
  map.on("unload", () => observer.disconnect());
  return map;
}

function pin(className: string, symbol: "dot" | "flag", qa: string): L.Marker {
  const classes = carried("class", `map-pin_mapPin__n4Wk2 ${className}`) ?? "";
  const icon = L.divIcon({ className: classes, html: pinSvg(symbol), iconSize: [32, 42], iconAnchor: [16, 42] });
  // Clicks go through the pin to the map, so that it can be moved by a pixel.
  const marker = L.marker([0, 0], { icon, interactive: false, keyboard: false });
  marker.on("add", () => {
    const element = marker.getElement();
    if (element) set(element, "data-qa", qa);
  });
  return marker;
}

/** The map on which the player places the pin. */
export class GuessMap {
  readonly button = el(
    "button",
    {
      type: "button",
      class: "button_button__aR6_e button_variantPrimary__u3WzI guess-map_guessButton__h7Tqx guess-button",
      "data-qa": "perform-guess",
      disabled: true,
      click: () => this.guess(),
    },
    "Place your pin on the map",
  );
  private readonly canvas = el("div", {
    class: "guess-map_canvas__cvpqv guess-map-canvas",
    "data-qa": "guess-map-canvas",
  });
  readonly element = el(
    "div",
    { class: "guess-map_guessMap__a1b2c guess-map", "data-qa": "guess-map" },
    el("div", { class: "guess-map_canvasContainer__s7oJp guess-map-frame" }, this.canvas),
    this.button,
  );
  /** Where the pin stands: as clicked, so the longitude may lie on any copy of the earth. */
  private place: LatLng | null = null;
  private map: L.Map | null = null;
  private readonly marker = pin("guess-pin", "dot", "guess-marker");
  private shrinking = 0;

  constructor(private readonly onGuess: (pin: LatLng) => void) {
    this.element.addEventListener("pointerenter", () => this.grow(true));
    this.element.addEventListener("pointerleave", (event) => {
      // A finger that lifts has not left the map.
      if (event.pointerType === "mouse") this.shrinking = window.setTimeout(() => this.grow(false), SHRINK_AFTER_MS);
    });
  }

  /** Enlarges the map, or makes it small again. */
  grow(large: boolean): void {
    window.clearTimeout(this.shrinking);
    this.element.toggleAttribute("data-grown", large);
  }

  /** Empties the map for a new round. The element must be on the page. */
  reset(): void {
    if (!this.map) {
      this.map = slippyMap(this.canvas, {});
      L.control.zoom({ position: "topleft" }).addTo(this.map);
      this.map.on("click", ({ latlng }) => this.put(latlng));
    }
    this.grow(false);
    this.marker.remove();
    this.place = null;
    this.map.setView([20, 10], 1, { animate: false });
    this.button.disabled = true;
    this.button.textContent = "Place your pin on the map";
  }

  /** The pin with its longitude wrapped to [-180, 180). */
  get pin(): LatLng | null {
    return this.place && { lat: this.place.lat, lng: wrapLng(this.place.lng) };
  }

  guess(): void {
    if (this.pin && !this.button.disabled) this.onGuess(this.pin);
  }

  /** While a guess is on its way no second one can follow. */
  set busy(busy: boolean) {
    this.button.disabled = busy || !this.place;
  }

  private put(place: LatLng): void {
    if (!this.map) return;
    this.place = { lat: place.lat, lng: place.lng };
    this.marker.setLatLng(place).addTo(this.map);
    this.button.disabled = false;
    this.button.textContent = "Guess";
  }
}

/** The truth; unless time ran out, the pin; and the rival's, where there is one. */
export interface Answer {
  truth: LatLng;
  pin: LatLng | null;
  rival: LatLng | null;
}

/** How long after the player's pin the rival's appears, in milliseconds. */
const RIVAL_AFTER_MS = 1200;

/**
 * Shows truths and pins with lines between them, and returns the map to remove. The box must be on the page. The pins of a
 * rival come later where that is `suspense`.
 */
export function showResults(container: HTMLElement, answers: Answer[], suspense: boolean): L.Map {
  const map = slippyMap(container, { scrollWheelZoom: true });
  const seen = L.latLngBounds([]);
  const connect = (from: LatLng, to: LatLng) => {
    const line = greatCircle(from, to).map(({ lat, lng }): L.LatLngTuple => [lat, lng]);
    L.polyline(line, { color: "#1b2430", weight: 2.5, dashArray: "1 7", interactive: false }).addTo(map);
  };
  const rivals: [LatLng, LatLng][] = [];
  for (const { truth, pin: guess, rival } of answers) {
    const shown = guess ? nearestCopy(truth, guess) : truth;
    if (guess) {
      connect(guess, truth);
      pin("guess-pin", "dot", "guess-location-marker").setLatLng(guess).addTo(map);
      seen.extend(guess);
    }
    if (rival) {
      const near = nearestCopy(rival, shown);
      rivals.push([near, shown]);
      seen.extend(near);
    }
    pin("correct-pin", "flag", "correct-location-marker").setLatLng(shown).addTo(map);
    seen.extend(shown);
  }
  map.fitBounds(seen, { paddingTopLeft: [48, 96], paddingBottomRight: [48, 64], maxZoom: 7, animate: false });
  const showRivals = () => {
    for (const [at, truth] of rivals) {
      connect(at, truth);
      pin("rival-pin", "dot", "rival-location-marker").setLatLng(at).addTo(map);
    }
  };
  const still = !suspense || matchMedia("(prefers-reduced-motion: reduce)").matches;
  const later = window.setTimeout(showRivals, still ? 0 : RIVAL_AFTER_MS);
  map.on("unload", () => window.clearTimeout(later));
  return map;
}
