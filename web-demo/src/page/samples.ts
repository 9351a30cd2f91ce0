// The sample photos of the page: the repository's fixtures, with their credits.

import type { LatLng } from "../engine/types";

const ROOT = "../../../fixtures/rounds";
const photoUrls = import.meta.glob<string>("../../../fixtures/rounds/*/view_*.jpg", {
  query: "?url",
  import: "default",
  eager: true,
});
const names = import.meta.glob<string>("../../../fixtures/rounds/*/round.json", { import: "name", eager: true });
const truths = import.meta.glob<LatLng>("../../../fixtures/rounds/*/round.json", { import: "truth", eager: true });
const credits = import.meta.glob<string>("../../../fixtures/rounds/*/CREDITS", {
  query: "?raw",
  import: "default",
  eager: true,
});

export interface Credit {
  author: string;
  licence: string;
  /** URL of the licence text, if any. */
  link: string | null;
  /** Complete contents of the CREDITS file, including the licence text if required. */
  text: string;
}

export interface Sample {
  id: string;
  name: string;
  truth: LatLng;
  /** URLs of the views, ordered by heading. */
  views: string[];
  credit: Credit;
}

/** Parses a CREDITS file. */
export function readCredit(text: string): Credit {
  const line = (name: string) => new RegExp(`^${name}:\\s+(.+)$`, "m").exec(text)?.[1]?.trim() ?? "";
  const [licence = "", link = null] = line("Licence").split(/\s+(?=https?:)/);
  return { author: line("Author"), licence, link, text: text.trim() };
}

export const SAMPLES: Sample[] = Object.entries(credits).map(([path, text]) => {
  const id = path.slice(ROOT.length + 1, -"/CREDITS".length);
  const folder = `${ROOT}/${id}`;
  return {
    id,
    name: names[`${folder}/round.json`] ?? id,
    truth: truths[`${folder}/round.json`] ?? { lat: 0, lng: 0 },
    views: Object.keys(photoUrls)
      .filter((file) => file.startsWith(`${folder}/`))
      .sort()
      .map((file) => photoUrls[file]!),
    credit: readCredit(text),
  };
});

/** Examples on the start screen: landmarks, streets, and one place with four views. */
export const EXAMPLES: Sample[] = [
  "rome-colosseum",
  "nagoya-castle",
  "canyon-de-chelly",
  "saint-gregoire-road",
  "portland-landing-pad",
  "sydney-opera-house",
].flatMap((id) => SAMPLES.filter((sample) => sample.id === id));

/** Downloads the views of a sample. */
export async function fetchViews({ views }: Sample): Promise<Blob[]> {
  return Promise.all(
    views.map(async (url) => {
      const response = await fetch(url).catch(() => null);
      if (!response?.ok) throw new Error("The photo could not be downloaded: check the connection and try again.");
      return response.blob();
    }),
  );
}
