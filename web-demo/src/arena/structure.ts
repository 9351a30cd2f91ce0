// How the page is built: the arena's own way, with helps for machines; as the live page is, without them; or as that may
// be some releases later, with other hashes in its class names and half of its `data-qa` names gone.

export type Structure = "plain" | "live" | "aged";

/** The `data-qa` names of the arena that public projects read in the live page too, in alphabetical order. */
export const LIVE_NAMES = [
  "close-round-result",
  "compass",
  "correct-location-marker",
  "guess-description",
  "guess-map",
  "guess-map-canvas",
  "interstitial-message-continue-to-game",
  "map-name",
  "panorama",
  "panorama-canvas",
  "perform-guess",
  "play-again-button",
  "result-view-top",
  "results-map",
  "round-number",
  "round-result",
  "score",
];

/** What an element carries in place of an attribute on a page of this structure; `null` when nothing. */
export function attributeIn(structure: Structure, name: string, value: string): string | null {
  if (structure === "plain") return value;
  if (name === "data-qa") {
    const at = LIVE_NAMES.indexOf(value);
    // Every second name goes, from the first: those of the view, the map, the guess and the way on are among them.
    return at < 0 || (structure === "aged" && at % 2 === 0) ? null : value;
  }
  if (name.startsWith("data-")) return null;
  if (name === "class" && structure === "aged") return value.replace(/__(\w+)/g, (_, hash: string) => `__${otherHash(hash)}`);
  return value;
}

/** Another hash of the same length, the same one each time. */
function otherHash(hash: string): string {
  const swapped = [...hash].map((c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase()));
  return `x${swapped.reverse().slice(1).join("")}`;
}

let structure: Structure = "plain";

/** Says how everything that is built from now on is built. */
export function build(as: Structure): void {
  structure = as;
}

/** Whether the page has the arena's own helps. */
export function isPlain(): boolean {
  return structure === "plain";
}

/** What an element of this page carries in place of an attribute; `null` when nothing. */
export function carried(name: string, value: string): string | null {
  return attributeIn(structure, name, value);
}
