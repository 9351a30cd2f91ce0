// The page structure: "plain" has the arena's own attributes for automatic players; "live" has only what the live
// page has; "aged" simulates a later release of it, with other hashes in class names and without half of the
// `data-qa` names.

export type Structure = "plain" | "live" | "aged";

/** The `data-qa` names that the live page has too, according to public projects, in alphabetical order. */
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

/** The value of an attribute in a page structure; `null` if it is omitted. */
export function attributeFor(structure: Structure, name: string, value: string): string | null {
  if (structure === "plain") return value;
  if (name === "data-qa") {
    const at = LIVE_NAMES.indexOf(value);
    // Omit every second name, from the first one. Those of the view, the map, the guess button and the next button
    // are among them.
    return at < 0 || (structure === "aged" && at % 2 === 0) ? null : value;
  }
  if (name.startsWith("data-")) return null;
  if (name === "class" && structure === "aged")
    return value.replace(/__(\w+)/g, (_, hash: string) => `__${otherHash(hash)}`);
  return value;
}

/** Deterministically changes a hash and keeps its length. */
function otherHash(hash: string): string {
  const swapped = [...hash].map((c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase()));
  return `x${swapped.reverse().slice(1).join("")}`;
}

let structure: Structure = "plain";

/** Sets the structure of all elements created from now on. */
export function setStructure(as: Structure): void {
  structure = as;
}

/** Whether the page has the arena's own attributes. */
export function isPlain(): boolean {
  return structure === "plain";
}

/** The value of an attribute on this page; `null` if it is omitted. */
export function attributeValue(name: string, value: string): string | null {
  return attributeFor(structure, name, value);
}
