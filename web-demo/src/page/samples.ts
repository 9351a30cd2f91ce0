// The pictures that come with the page: the repository's fixtures, with who made them.

import type { LatLng } from "../engine/types";

const ROOT = "../../../fixtures/rounds";
const pictures = import.meta.glob<string>("../../../fixtures/rounds/*/view_*.jpg", { query: "?url", import: "default", eager: true });
const names = import.meta.glob<string>("../../../fixtures/rounds/*/round.json", { import: "name", eager: true });
const truths = import.meta.glob<LatLng>("../../../fixtures/rounds/*/round.json", { import: "truth", eager: true });
const credits = import.meta.glob<string>("../../../fixtures/rounds/*/CREDITS", { query: "?raw", import: "default", eager: true });

export interface Credit {
  author: string;
  licence: string;
  /** The licence's own page, where there is one. */
  link: string | null;
  /** Everything that is to be said, the licence's text where it asks for that. */
  text: string;
}

export interface Round {
  id: string;
  name: string;
  truth: LatLng;
  /** Addresses of the views, by heading. */
  views: string[];
  credit: Credit;
}

/** What a CREDITS file says. */
export function readCredit(text: string): Credit {
  const line = (name: string) => new RegExp(`^${name}:\\s+(.+)$`, "m").exec(text)?.[1]?.trim() ?? "";
  const [licence = "", link = null] = line("Licence").split(/\s+(?=https?:)/);
  return { author: line("Author"), licence, link, text: text.trim() };
}

export const ROUNDS: Round[] = Object.entries(credits).map(([path, text]) => {
  const id = path.slice(ROOT.length + 1, -"/CREDITS".length);
  const folder = `${ROOT}/${id}`;
  return {
    id,
    name: names[`${folder}/round.json`] ?? id,
    truth: truths[`${folder}/round.json`] ?? { lat: 0, lng: 0 },
    views: Object.keys(pictures).filter((file) => file.startsWith(`${folder}/`)).sort().map((file) => pictures[file]!),
    credit: readCredit(text),
  };
});

/** A few to begin with: sights, streets, and one place seen in four directions. */
export const EXAMPLES: Round[] = [
  "rome-colosseum",
  "nagoya-castle",
  "canyon-de-chelly",
  "saint-gregoire-road",
  "portland-landing-pad",
  "sydney-opera-house",
].flatMap((id) => ROUNDS.filter((round) => round.id === id));

/** The views of a round as pictures. */
export async function fetchViews({ views }: Round): Promise<Blob[]> {
  return Promise.all(
    views.map(async (address) => {
      const answer = await fetch(address).catch(() => null);
      if (!answer?.ok) throw new Error("The picture could not be fetched: check the network and try again.");
      return answer.blob();
    }),
  );
}
