// Shared by the stubs of self-hosted games: two places, distances, and the guesses as the page took them.

/** The places of the two rounds, with their pictures. */
export const places = (await (await fetch("/places.json")).json()).slice(0, 2);

/** The distance in kilometres on a sphere. */
export function km(a, b) {
  const rad = Math.PI / 180;
  const h = Math.sin(((b.lat - a.lat) * rad) / 2) ** 2 + Math.cos(a.lat * rad) * Math.cos(b.lat * rad) * Math.sin(((b.lng - a.lng) * rad) / 2) ** 2;
  return 2 * 6371 * Math.asin(Math.sqrt(h));
}

/** Tells the test which guess the page took. */
export const report = (game, round, { lat, lng }) =>
  fetch("/guess", { method: "POST", body: JSON.stringify({ game, round, lat, lng: ((((lng + 180) % 360) + 360) % 360) - 180 }) });

/** An element from its HTML. */
export function html(text) {
  const box = document.createElement("template");
  box.innerHTML = text.trim();
  return box.content.firstElementChild;
}
