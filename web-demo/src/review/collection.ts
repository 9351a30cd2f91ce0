// The pictures under review: what is decided on them, and which of them are in a part of the map.

import { wrapLng } from "../geometry";
import type { Bounds, Changes, DotJson, ReviewJson, Status } from "./api";

export interface Dot {
  id: number;
  lat: number;
  lng: number;
  p: number;
  status: Status;
}

export interface Filter {
  minP: number;
  onlyOpen: boolean;
}

const toDot = ([id, lat, lng, p, status]: DotJson): Dot => ({ id, lat, lng, p, status });

export class Collection {
  readonly dots: Dot[];
  readonly paths: string[];
  undoable: number;

  constructor(json: ReviewJson) {
    this.dots = json.dots.map(toDot);
    this.paths = json.paths;
    this.undoable = json.undoable;
  }

  /** Applies what the server changed. Returns the changed dots. */
  apply(changes: Changes): Dot[] {
    this.undoable = changes.undoable;
    return changes.dots.map((json) => Object.assign(this.dots[json[0]]!, toDot(json)));
  }

  get open(): number {
    return this.dots.reduce((count, dot) => count + Number(dot.status === "open"), 0);
  }

  /** The pictures in a part of the map that a filter lets through, in the order of their paths. */
  within(bounds: Bounds, filter: Filter): Dot[] {
    return this.dots.filter(
      (dot) => contains(bounds, dot) && dot.p >= filter.minP && (!filter.onlyOpen || dot.status === "open"),
    );
  }
}

/** A view of a repeating map as bounds with longitudes from -180 to 180. */
export function normalise(view: Bounds): Bounds {
  if (view.east - view.west >= 360) return { ...view, west: -180, east: 180 };
  return { ...view, west: wrapLng(view.west), east: wrapLng(view.east) };
}

export function contains({ south, west, north, east }: Bounds, { lat, lng }: { lat: number; lng: number }): boolean {
  const between = west <= east ? lng >= west && lng <= east : lng >= west || lng <= east;
  return between && lat >= south && lat <= north;
}
