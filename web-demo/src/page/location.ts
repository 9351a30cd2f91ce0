// The location where a photo was taken. It is used only to show the distance, never for the prediction.

import type { Engine, LatLng } from "../engine/types";

/** The position in a photo's metadata; `null` if there is none, or it cannot be read. */
export function readPhotoLocation(model: Pick<Engine, "position">, photo: Blob): Promise<LatLng | null> {
  return model.position(photo).catch(() => null);
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
