// The machine as the other player: what it guessed, and who is ahead.

import type { Game, GameMap, Guess } from "./api";
import { el } from "./dom";
import { formatCount, formatDistance, type LatLng } from "../geometry";

/** What people call it. */
export const RIVAL = "Landfall";

/** What it said of a round that the person has guessed; `null` without a rival, or where it had nothing to say. */
export function rivalsGuess(game: Game, i: number): Guess | null {
  return game.rival?.guesses[i] ?? null;
}

export function rivalsPin(game: Game, i: number): LatLng | null {
  const guess = rivalsGuess(game, i);
  return guess && guess.lat !== null && guess.lng !== null ? { lat: guess.lat, lng: guess.lng } : null;
}

/** Points of both so far. */
export function totals(game: Game): { person: number; machine: number } {
  return { person: Number(game.player.totalScore.amount), machine: Number(game.rival?.totalScore.amount ?? 0) };
}

/** Who won, in two or three words. */
export function winner({ person, machine }: { person: number; machine: number }): string {
  if (person === machine) return "A draw";
  return person > machine ? "You won" : `${RIVAL} won`;
}

/** Its points, where it took the place to be, and who was closer. */
export function rivalsOutcome(game: Game, i: number): HTMLElement | null {
  if (!game.rival) return null;
  const guess = rivalsGuess(game, i);
  const mine = game.player.guesses[i];
  if (!guess || !mine) return el("p", { class: "result-rival", "data-qa": "rival-result" }, `${RIVAL} could not see this picture.`);
  const person = mine.roundScoreInPoints;
  const machine = guess.roundScoreInPoints;
  const closer = person === machine ? "A draw." : person > machine ? "You were closer." : `${RIVAL} was closer.`;
  return el(
    "p",
    { class: "result-rival", "data-qa": "rival-result", "data-points": String(machine) },
    el("strong", {}, `${RIVAL}: ${formatCount(machine)} points. `),
    `It said ${game.rival.places[i] ?? "nothing"}, ${formatDistance(guess.distanceInMeters)} off. ${closer}`,
  );
}

/** How the series stands; nothing before its first game. */
export function series(map: GameMap): string {
  const { person = 0, machine = 0, draws = 0 } = map.arena.versus?.series ?? {};
  if (person + machine + draws === 0) return "";
  const drawn = draws === 0 ? "" : draws === 1 ? ", one draw" : `, ${draws} draws`;
  return `The series so far: you ${person}, ${RIVAL} ${machine}${drawn}.`;
}
