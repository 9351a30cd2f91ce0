// What both test pages share: a round with a pin, a guess and a result, and what the test asks afterwards.
// The agent never calls any of this: it sees pictures and clicks.

export const options = new URLSearchParams(location.search);
/** A number from the page's address. */
export const number = (name, otherwise) => Number(options.get(name) ?? otherwise);

const element = (id) => document.getElementById(id);
let pin = null;

/** Takes the pin that a click has placed. */
export function placed(lat, lng) {
  pin = { lat, lng };
  element("guess").disabled = false;
}

/** The page's game; `reset` empties the map, `pixel` is where the map has a place, `world` how wide the map's world is. */
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
  /** How far in pixels the pin is from a place, by the map's own reckoning, and where it is. */
  window.judge = (lat, lng) => {
    const [at, wanted] = [pixel(pin.lat, pin.lng), pixel(lat, lng)];
    const across = at.x - wanted.x;
    const off = Math.hypot(across - Math.round(across / world()) * world(), at.y - wanted.y);
    return { off, world: world(), ...pin };
  };
  window.ready = true;
}
