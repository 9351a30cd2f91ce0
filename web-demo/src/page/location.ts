// Where a picture was really taken. Asked for only to reveal it; nothing here ever reaches the engine's guess.

import type { LatLng } from "../engine/types";

/** The place in a photo's EXIF data; `null` when it carries none that can be read. */
export async function placeIn(photo: Blob): Promise<LatLng | null> {
  const { gps } = await import("exifr/dist/lite.esm.mjs");
  try {
    const place = await gps(photo);
    return place && isPlace(place.latitude, place.longitude) ? { lat: place.latitude, lng: place.longitude } : null;
  } catch {
    // Not a photo with EXIF data.
    return null;
  }
}

/** Cameras without a fix write (0, 0) or nonsense. */
export function isPlace(lat: number, lng: number): boolean {
  return Math.abs(lat) <= 90 && Math.abs(lng) <= 180 && (lat !== 0 || lng !== 0);
}

const WHY: Record<number, string> = {
  1: "The position was refused: allow it for this page in the browser's settings.",
  2: "This device does not know where it is just now: try again under open sky.",
  3: "This device took too long to find where it is: try again.",
};

/** Where this device is, by its own account; asks the person for leave. */
export function placeOfDevice(): Promise<LatLng> {
  return new Promise((done, fail) => {
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => done({ lat: coords.latitude, lng: coords.longitude }),
      ({ code }) => fail(new Error(WHY[code] ?? "This device does not tell where it is.")),
      { enableHighAccuracy: false, timeout: 15_000, maximumAge: 60_000 },
    );
  });
}
