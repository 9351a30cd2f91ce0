// Angles, coordinates and number formatting.

export interface LatLng {
  /** Degrees north. */
  lat: number;
  /** Degrees east. */
  lng: number;
}

/** Longitude wrapped to [-180, 180). */
export function wrapLng(lng: number): number {
  const wrapped = ((((lng + 180) % 360) + 360) % 360) - 180;
  return wrapped >= 180 ? -180 : wrapped;
}

/** Heading in [0, 360). */
export function wrapHeading(degrees: number): number {
  const wrapped = ((degrees % 360) + 360) % 360;
  return wrapped >= 360 ? 0 : wrapped;
}

/** Signed difference between two headings, in [-180, 180). */
export function headingDifference(from: number, to: number): number {
  return wrapLng(to - from);
}

/** Shifts the longitude of `place` by multiples of 360° to the copy nearest to `anchor` on a repeating map. */
export function nearestCopy(place: LatLng, anchor: LatLng): LatLng {
  return { lat: place.lat, lng: anchor.lng + wrapLng(place.lng - anchor.lng) };
}

/** "180 m", "3.8 km", "1,234 km". */
export function formatDistance(metres: number): string {
  if (metres < 1000) return `${Math.round(metres)} m`;
  const km = metres / 1000;
  return km < 100 ? `${km.toFixed(1)} km` : `${formatCount(Math.round(km))} km`;
}

/** A whole number with thousands separators: "14,203". */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString("en-US");
}

/** "45.76000, 4.83000". */
export function formatLatLng(place: LatLng): string {
  return `${place.lat.toFixed(5)}, ${place.lng.toFixed(5)}`;
}

/** "1:05". */
export function formatClock(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Points on the great circle between two places. Longitudes continue beyond ±180 so that the line is not split. */
export function greatCircle(from: LatLng, to: LatLng, segments = 64): LatLng[] {
  const a = vector(from);
  const b = vector(to);
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(a, b))));
  // The great circle is not unique for antipodes and not needed for neighbours.
  if (angle < 1e-6 || angle > Math.PI - 1e-6) return [from, nearestCopy(to, from)];
  const line: LatLng[] = [];
  for (let i = 0; i <= segments; i++) {
    const t = i / segments;
    const [u, v] = [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
    const [x, y, z] = [u * a[0] + v * b[0], u * a[1] + v * b[1], u * a[2] + v * b[2]];
    const place = { lat: degrees(Math.atan2(z, Math.hypot(x, y))), lng: degrees(Math.atan2(y, x)) };
    line.push(nearestCopy(place, line.at(-1) ?? from));
  }
  return line;
}

type Vector = [number, number, number];

function vector({ lat, lng }: LatLng): Vector {
  const [phi, lambda] = [(lat * Math.PI) / 180, (lng * Math.PI) / 180];
  return [Math.cos(phi) * Math.cos(lambda), Math.cos(phi) * Math.sin(lambda), Math.sin(phi)];
}

function dot(a: Vector, b: Vector): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

function degrees(radians: number): number {
  return (radians * 180) / Math.PI;
}
