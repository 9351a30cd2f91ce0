// The location where a photo was taken. It is used only to show the distance, never for the prediction.

import type { LatLng } from "../engine/types";

/** GPS coordinates from a photo's EXIF data; `null` if there are none. */
export async function readExifLocation(photo: Blob): Promise<LatLng | null> {
  const { gps } = await import("exifr/dist/lite.esm.mjs");
  try {
    const place = await gps(photo);
    return place && isValidLocation(place.latitude, place.longitude)
      ? { lat: place.latitude, lng: place.longitude }
      : null;
  } catch {
    // No readable EXIF data.
    return null;
  }
}

/** Rejects (0, 0) and out-of-range values, which cameras write without a GPS fix. */
export function isValidLocation(lat: number, lng: number): boolean {
  return Math.abs(lat) <= 90 && Math.abs(lng) <= 180 && (lat !== 0 || lng !== 0);
}

const ERROR_MESSAGES: Record<number, string> = {
  1: "Location access was denied: allow it for this page in the browser's settings.",
  2: "The location of this device is not available: try again outdoors.",
  3: "Determining the location took too long: try again.",
};

/** The location of this device. The browser asks the user for permission. */
export function deviceLocation(): Promise<LatLng> {
  return new Promise((done, fail) => {
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => done({ lat: coords.latitude, lng: coords.longitude }),
      ({ code }) => fail(new Error(ERROR_MESSAGES[code] ?? "The location of this device is not available.")),
      { enableHighAccuracy: false, timeout: 15_000, maximumAge: 60_000 },
    );
  });
}
