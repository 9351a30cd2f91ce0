// The basemap: land and borders from Natural Earth in Web Mercator, as paths that can be drawn at any scale.

import { geoArea, geoMercator, geoPath, type GeoContext } from "d3-geo";
import type { Geometry, Polygon } from "geojson";
import { feature, mesh } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import coarse from "world-atlas/countries-110m.json";
import type { LatLng } from "../engine/types";

/** Width and height of the world in map units. */
export const WORLD_SIZE = 1024;

const projection = geoMercator()
  .scale(WORLD_SIZE / (2 * Math.PI))
  .translate([WORLD_SIZE / 2, WORLD_SIZE / 2])
  .precision(0.05);

/** Projects a place to map units. */
export function project({ lat, lng }: LatLng): [number, number] {
  return projection([lng, Math.max(-85, Math.min(85, lat))]) ?? [0, 0];
}

/** The place at a point in map units. The longitude is wrapped. */
export function unproject([x, y]: [number, number]): LatLng {
  const [lng, lat] = projection.invert?.([((x % WORLD_SIZE) + WORLD_SIZE) % WORLD_SIZE, y]) ?? [0, 0];
  return { lat, lng };
}

/** The path of shapes on the map. Edges are great circles and are split at the date line. */
export function toPath(...shapes: Geometry[]): Path2D {
  const path = new Path2D();
  // d3 only uses the methods of the context that Path2D has.
  const draw = geoPath(projection, path as unknown as GeoContext);
  for (const shape of shapes) draw(shape);
  return path;
}

/** Converts the outline of a cell to a polygon. The corners may be in either order. */
export function ringToPolygon(ring: [number, number][]): Polygon {
  const first = ring[0];
  const closed = first ? [...ring, first] : [];
  const shape: Polygon = { type: "Polygon", coordinates: [closed] };
  // On a sphere the order of the corners determines which side is inside.
  if (geoArea(shape) > 2 * Math.PI) closed.reverse();
  return shape;
}

export interface CountryLabel extends LatLng {
  text: string;
  /** The label fits if the world is at least this wide, in pixels. */
  minWorldPx: number;
}

export interface Basemap {
  land: Path2D;
  borders: Path2D;
  labels: CountryLabel[];
}

type Countries = GeometryCollection<{ name: string }>;

function parseBasemap(topology: Topology<{ countries: Countries; land: GeometryCollection }>): Basemap {
  const { countries, land } = topology.objects;
  const path = geoPath(projection);
  const labels = feature(topology, countries).features.map(({ geometry, properties }): CountryLabel => {
    // The label goes on the largest part of the country.
    const parts: Polygon[] =
      geometry.type === "MultiPolygon"
        ? geometry.coordinates.map((coordinates) => ({ type: "Polygon", coordinates }))
        : [geometry as Polygon];
    const largest = parts.reduce((a, b) => (path.area(b) > path.area(a) ? b : a));
    const [[left], [right]] = path.bounds(largest);
    const place = unproject(path.centroid(largest));
    return {
      ...place,
      text: properties.name,
      minWorldPx: (properties.name.length * 7 * WORLD_SIZE) / Math.max(right - left, 1),
    };
  });
  return {
    land: toPath(...feature(topology, land).features.map(({ geometry }) => geometry)),
    borders: toPath(mesh(topology, countries, (a, b) => a !== b)),
    labels,
  };
}

const loaded: { coarse?: Basemap; fine?: Basemap } = {};

/** The basemap for small scales. */
export function coarseBasemap(): Basemap {
  return (loaded.coarse ??= parseBasemap(coarse as unknown as Parameters<typeof parseBasemap>[0]));
}

/** The detailed basemap, or the coarse one until it has been loaded. Then `onLoad` is called. */
export function fineBasemap(onLoad: () => void): Basemap {
  if (!loaded.fine && !fetching) {
    fetching = import("world-atlas/countries-50m.json")
      .then(({ default: fine }) => {
        loaded.fine = parseBasemap(fine as unknown as Parameters<typeof parseBasemap>[0]);
        onLoad();
      })
      // No network: keep the coarse basemap; the next call retries.
      .catch(() => {
        fetching = null;
      });
  }
  return loaded.fine ?? coarseBasemap();
}

let fetching: Promise<void> | null = null;
