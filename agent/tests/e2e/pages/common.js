// Shared by both test pages: a round with a pin, a guess and a result, and functions that the test calls.
// The agent never calls these functions: it only takes screenshots and sends input.

export const options = new URLSearchParams(location.search);
/** A number from the query string. */
export const number = (name, otherwise) => Number(options.get(name) ?? otherwise);

const element = (id) => document.getElementById(id);
let pin = null;

/** Stores the pin position after a click. */
export function placed(lat, lng) {
  pin = { lat, lng };
  element("guess").disabled = false;
}

/**
 * Starts the game. `reset` clears the map, `pixel` projects coordinates to pixels, `world` returns the width of the
 * world in pixels.
 */
export function begin({ reset, pixel, world }) {
  if (options.has("small")) document.body.classList.add("small");
  if (options.has("slow")) document.body.classList.add("slow");
  element("guess").addEventListener("click", () => {
    const result = element("result");
    Object.assign(result.dataset, { lat: pin.lat, lng: ((((pin.lng + 180) % 360) + 360) % 360) - 180 });
    result.hidden = false;
  });
  window.newRound = () => {
    pin = null;
    element("guess").disabled = true;
    element("result").hidden = true;
    reset();
  };
  /** The distance in pixels between the pin and a target according to the map, and the position of the pin. */
  window.judge = (lat, lng) => {
    const [at, wanted] = [pixel(pin.lat, pin.lng), pixel(lat, lng)];
    const across = at.x - wanted.x;
    const off = Math.hypot(across - Math.round(across / world()) * world(), at.y - wanted.y);
    return { off, world: world(), ...pin };
  };
  window.ready = true;
}
