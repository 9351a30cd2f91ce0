// The two Leaflet maps: the guess map and the map of results.

import "leaflet/dist/leaflet.css";
import * as L from "leaflet";
import { el, pinSvg, set } from "./dom";
import { greatCircle, nearestCopy, wrapLng, type LatLng } from "../geometry";
import { attributeValue, isPlain } from "./structure";

/** Tile URLs of the arena and, for other page structures, URLs like those of the live page. */
const TILES = "/tiles/{z}/{x}/{y}.png";
const LIVE_TILES = "/maps/vt?pb=!1m5!1m4!1i{z}!2i{x}!3i{y}!4i256!2m3!1e0!2sm!3i715";

/** Delay before the guess map collapses after the pointer has left it, in milliseconds. */
const COLLAPSE_DELAY_MS = 700;

const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function createMap(container: HTMLElement, options: L.MapOptions): L.Map {
  const animated = !reducedMotion();
  const map = L.map(container, {
    zoomAnimation: animated,
    fadeAnimation: animated,
    markerZoomAnimation: animated,
    inertia: animated,
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
  // Resize the map with its element, also during animations.
  const observer = new ResizeObserver(() => map.invalidateSize({ animate: false }));
  observer.observe(container);
  map.on("unload", () => observer.disconnect());
  return map;
}

function pin(className: string, symbol: "dot" | "flag", qa: string): L.Marker {
  const classes = attributeValue("class", `map-pin_mapPin__n4Wk2 ${className}`) ?? "";
  const icon = L.divIcon({ className: classes, html: pinSvg(symbol), iconSize: [32, 42], iconAnchor: [16, 42] });
  // Clicks pass through the pin to the map, so that the pin can be moved by one pixel.
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
  /** Position of the pin as clicked; the longitude is not wrapped. */
  private position: LatLng | null = null;
  private map: L.Map | null = null;
  private readonly marker = pin("guess-pin", "dot", "guess-marker");
  private collapseTimer = 0;

  constructor(private readonly onGuess: (pin: LatLng) => void) {
    this.element.addEventListener("pointerenter", () => this.setExpanded(true));
    this.element.addEventListener("pointerleave", (event) => {
      // Lifting a finger also fires this event.
      if (event.pointerType === "mouse")
        this.collapseTimer = window.setTimeout(() => this.setExpanded(false), COLLAPSE_DELAY_MS);
    });
  }

  /** Expands or collapses the map. */
  setExpanded(expanded: boolean): void {
    window.clearTimeout(this.collapseTimer);
    this.element.toggleAttribute("data-expanded", expanded);
  }

  /** Resets the map for a new round. The element must be on the page. */
  reset(): void {
    if (!this.map) {
      this.map = createMap(this.canvas, {});
      L.control.zoom({ position: "topleft" }).addTo(this.map);
      this.map.on("click", ({ latlng }) => this.placePin(latlng));
    }
    this.setExpanded(false);
    this.marker.remove();
    this.position = null;
    this.map.setView([20, 10], 1, { animate: false });
    this.button.disabled = true;
    this.button.textContent = "Place your pin on the map";
  }

  /** The pin with its longitude wrapped to [-180, 180). */
  get pin(): LatLng | null {
    return this.position && { lat: this.position.lat, lng: wrapLng(this.position.lng) };
  }

  guess(): void {
    if (this.pin && !this.button.disabled) this.onGuess(this.pin);
  }

  /** Disables the button while a guess is being sent. */
  set busy(busy: boolean) {
    this.button.disabled = busy || !this.position;
  }

  private placePin(position: LatLng): void {
    if (!this.map) return;
    this.position = { lat: position.lat, lng: position.lng };
    this.marker.setLatLng(position).addTo(this.map);
    this.button.disabled = false;
    this.button.textContent = "Guess";
  }
}

/** The places of a round. `pin` is null if time ran out, `opponent` (its pin) if there is no opponent. */
export interface RoundResult {
  truth: LatLng;
  pin: LatLng | null;
  opponent: LatLng | null;
}

/** Delay between the player's pin and the opponent's pin, in milliseconds. */
const OPPONENT_DELAY_MS = 1200;

/**
 * Shows correct locations and pins with lines between them. The container must be on the page. With `delayOpponent` the
 * opponent's pins appear later. The caller must remove the returned map.
 */
export function showResults(container: HTMLElement, results: RoundResult[], delayOpponent: boolean): L.Map {
  const map = createMap(container, { scrollWheelZoom: true });
  const bounds = L.latLngBounds([]);
  const connect = (from: LatLng, to: LatLng) => {
    const line = greatCircle(from, to).map(({ lat, lng }): L.LatLngTuple => [lat, lng]);
    L.polyline(line, { color: "#1b2430", weight: 2.5, dashArray: "1 7", interactive: false }).addTo(map);
  };
  const opponentPins: [LatLng, LatLng][] = [];
  for (const { truth, pin: guess, opponent } of results) {
    const shownTruth = guess ? nearestCopy(truth, guess) : truth;
    if (guess) {
      connect(guess, truth);
      pin("guess-pin", "dot", "guess-location-marker").setLatLng(guess).addTo(map);
      bounds.extend(guess);
    }
    if (opponent) {
      const shownOpponent = nearestCopy(opponent, shownTruth);
      opponentPins.push([shownOpponent, shownTruth]);
      bounds.extend(shownOpponent);
    }
    pin("correct-pin", "flag", "correct-location-marker").setLatLng(shownTruth).addTo(map);
    bounds.extend(shownTruth);
  }
  map.fitBounds(bounds, { paddingTopLeft: [48, 96], paddingBottomRight: [48, 64], maxZoom: 7, animate: false });
  const showOpponentPins = () => {
    for (const [at, truth] of opponentPins) {
      connect(at, truth);
      pin("rival-pin", "dot", "rival-location-marker").setLatLng(at).addTo(map);
    }
  };
  const immediate = !delayOpponent || reducedMotion();
  const timer = window.setTimeout(showOpponentPins, immediate ? 0 : OPPONENT_DELAY_MS);
  map.on("unload", () => window.clearTimeout(timer));
  return map;
}
