// The earth without tiles: Natural Earth's land and borders, projected once, to be drawn at any size and place.

import { geoArea, geoMercator, geoPath, type GeoContext } from "d3-geo";
import type { Geometry, Polygon } from "geojson";
import { feature, mesh } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import coarse from "world-atlas/countries-110m.json";
import type { LatLng } from "../engine/types";

/** Width of the whole earth in the map's own units, before any zoom. */
export const WORLD = 1024;

const projection = geoMercator()
  .scale(WORLD / (2 * Math.PI))
  .translate([WORLD / 2, WORLD / 2])
  .precision(0.05);

/** Where a place lies on the map, in its own units. */
export function project({ lat, lng }: LatLng): [number, number] {
  return projection([lng, Math.max(-85, Math.min(85, lat))]) ?? [0, 0];
}

/** The place at a point of the map; the longitude is wrapped. */
export function unproject([x, y]: [number, number]): LatLng {
  const [lng, lat] = projection.invert?.([(((x % WORLD) + WORLD) % WORLD), y]) ?? [0, 0];
  return { lat, lng };
}

/** The way of a shape on the map, great circles and the date line minded. */
export function trace(...shapes: Geometry[]): Path2D {
  const path = new Path2D();
  // Of a context, d3 uses what a path has.
  const draw = geoPath(projection, path as unknown as GeoContext);
  for (const shape of shapes) draw(shape);
  return path;
}

/** A cell's outline as a shape; corners in either order. */
export function outline(ring: [number, number][]): Polygon {
  const first = ring[0];
  const closed = first ? [...ring, first] : [];
  const shape: Polygon = { type: "Polygon", coordinates: [closed] };
  // On a sphere the order of the corners says which side is inside.
  if (geoArea(shape) > 2 * Math.PI) closed.reverse();
  return shape;
}

export interface Name extends LatLng {
  text: string;
  /** Zoom, as a multiple of the whole earth's width in pixels, from which there is room for it. */
  from: number;
}

export interface Land {
  land: Path2D;
  borders: Path2D;
  names: Name[];
}

type Countries = GeometryCollection<{ name: string }>;

function read(topology: Topology<{ countries: Countries; land: GeometryCollection }>): Land {
  const { countries, land } = topology.objects;
  const path = geoPath(projection);
  const names = feature(topology, countries).features.map(({ geometry, properties }): Name => {
    // A country is named where its largest part is.
    const parts: Polygon[] =
      geometry.type === "MultiPolygon"
        ? geometry.coordinates.map((coordinates) => ({ type: "Polygon", coordinates }))
        : [geometry as Polygon];
    const largest = parts.reduce((a, b) => (path.area(b) > path.area(a) ? b : a));
    const [[left], [right]] = path.bounds(largest);
    const place = unproject(path.centroid(largest));
    return { ...place, text: properties.name, from: (properties.name.length * 7 * WORLD) / Math.max(right - left, 1) };
  });
  return {
    land: trace(...feature(topology, land).features.map(({ geometry }) => geometry)),
    borders: trace(mesh(topology, countries, (a, b) => a !== b)),
    names,
  };
}

const known: { coarse?: Land; fine?: Land } = {};

/** The earth for a world map. */
export function coarseLand(): Land {
  return (known.coarse ??= read(coarse as unknown as Parameters<typeof read>[0]));
}

/** The earth for a map of a region: the finer one once it is there. `then` is called when it has come. */
export function fineLand(then: () => void): Land {
  if (!known.fine && !fetching) {
    fetching = import("world-atlas/countries-50m.json")
      .then(({ default: fine }) => {
        known.fine = read(fine as unknown as Parameters<typeof read>[0]);
        then();
      })
      // Without a network the coarse map has to do; the next zoom tries again.
      .catch(() => {
        fetching = null;
      });
  }
  return known.fine ?? coarseLand();
}

let fetching: Promise<void> | null = null;
