// Vite plugin that limits the sample photos of a build to those of the rounds in LANDFALL_PAGE_ROUNDS, separated by
// commas: `cargo xtask dist` puts the pages into the program, which must stay small.

import type { Plugin } from "vite";

const SOURCE = /\/src\/page\/samples\.ts$/;

/** Replaces the wildcard for the round in the patterns of `samples.ts`. */
export function limitRounds(code: string, rounds: string[]): string {
  return code.replaceAll("rounds/*/", rounds.length === 1 ? `rounds/${rounds[0]}/` : `rounds/{${rounds.join(",")}}/`);
}

export function samples(listed = process.env["LANDFALL_PAGE_ROUNDS"]): Plugin {
  const rounds = listed?.split(",").filter(Boolean) ?? [];
  return {
    name: "landfall-samples",
    // Before Vite expands the patterns.
    enforce: "pre",
    transform: (code, id) => (rounds.length > 0 && SOURCE.test(id) ? limitRounds(code, rounds) : null),
  };
}
