// The map of the review: a dot per picture, and choosing a location.

import "leaflet/dist/leaflet.css";
import * as L from "leaflet";
import { el } from "../dom";
import { nearestCopy, wrapLng, type LatLng } from "../geometry";
import type { Bounds, Status } from "./api";
import { normalise, type Dot } from "./collection";

/** Told apart by shape as well: a ring, a disc, and a disc with a white border. */
const STYLES: Record<Status, L.CircleMarkerOptions> = {
  open: { radius: 6, color: "#a33d00", weight: 3, fillColor: "#fff", fillOpacity: 0.9 },
  accepted: { radius: 6, color: "#05603f", weight: 1, fillColor: "#0b8a5c", fillOpacity: 1 },
  corrected: { radius: 7, color: "#fff", weight: 2, fillColor: "#1f5fc4", fillOpacity: 1 },
};
/** Zoom of the map after a picture was chosen in the list. */
const CHOSEN_ZOOM = 5;

export class ReviewMap {
  readonly element = el("div", { class: "map", role: "application", "aria-label": "Map of the pictures" });
  private readonly map: L.Map;
  private readonly markers = new Map<number, L.CircleMarker>();
  private readonly chosen = L.circleMarker([0, 0], {
    radius: 13,
    color: "#111a20",
    weight: 3,
    fill: false,
    interactive: false,
  });
  private circle: L.Circle | null = null;
  private onPlace: ((at: LatLng) => void) | null = null;

  /** `container` must be on the page. */
  constructor(container: HTMLElement, dots: Dot[], onChoose: (id: number) => void, onMove: () => void) {
    container.append(this.element);
    const animated = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.map = L.map(this.element, {
      preferCanvas: true,
      zoomAnimation: animated,
      fadeAnimation: animated,
      inertia: animated,
      minZoom: 1,
      maxZoom: 10,
      attributionControl: false,
      maxBounds: L.latLngBounds([-85.06, -Infinity], [85.06, Infinity]),
      maxBoundsViscosity: 1,
    });
    L.control.attribution({ prefix: false }).addTo(this.map);
    L.tileLayer("/tiles/{z}/{x}/{y}.png", { maxZoom: 10, attribution: "Natural Earth" }).addTo(this.map);
    for (const dot of dots) {
      const marker = L.circleMarker([dot.lat, dot.lng], STYLES[dot.status]);
      marker.on("click", (event) => {
        if (this.onPlace) return;
        L.DomEvent.stopPropagation(event);
        onChoose(dot.id);
      });
      this.markers.set(dot.id, marker.addTo(this.map));
    }
    const bounds = L.latLngBounds(dots.map(({ lat, lng }): L.LatLngTuple => [lat, lng]));
    this.map.fitBounds(bounds, { padding: [30, 30], maxZoom: 6, animate: false });
    this.map.on("moveend", onMove);
    this.map.on("click", ({ latlng }) => this.place(latlng));
    new ResizeObserver(() => this.map.invalidateSize({ animate: false })).observe(this.element);
  }

  get bounds(): Bounds {
    const view = this.map.getBounds();
    return normalise({
      south: view.getSouth(),
      west: view.getWest(),
      north: view.getNorth(),
      east: view.getEast(),
    });
  }

  update(dots: Dot[]): void {
    for (const dot of dots) {
      this.markers.get(dot.id)?.setLatLng([dot.lat, dot.lng]).setStyle(STYLES[dot.status]);
      this.markers.get(dot.id)?.setRadius(STYLES[dot.status].radius ?? 6);
    }
  }

  /** Marks a picture, with the circle of its answer, and moves the map if it is out of view. */
  choose(dot: Dot | null, circle?: LatLng & { km: number }): void {
    this.chosen.remove();
    this.circle?.remove();
    this.circle = null;
    if (!dot) return;
    const at = nearestCopy(dot, this.map.getCenter());
    this.chosen.setLatLng(at).addTo(this.map);
    if (circle) {
      const options = { radius: circle.km * 1000, color: "#a33d00", weight: 2, fillOpacity: 0.08, interactive: false };
      this.circle = L.circle(nearestCopy(circle, this.map.getCenter()), options).addTo(this.map);
    }
    if (!this.map.getBounds().contains(at)) {
      this.map.setView(at, Math.max(this.map.getZoom(), CHOSEN_ZOOM), { animate: false });
    }
  }

  /** The next click on the map chooses a location, until `stopPlacing`. */
  startPlacing(onPlace: (at: LatLng) => void): void {
    this.onPlace = onPlace;
    this.element.classList.add("placing");
    this.element.focus();
  }

  stopPlacing(): void {
    this.onPlace = null;
    this.element.classList.remove("placing");
  }

  /** Chooses the middle of the map, for the keyboard. */
  placeAtCentre(): void {
    this.place(this.map.getCenter());
  }

  private place({ lat, lng }: LatLng): void {
    this.onPlace?.({ lat, lng: wrapLng(lng) });
  }
}
