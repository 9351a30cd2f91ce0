// The machine opponent: its guesses, and the standing of the game.

import type { Game, GameMap, Guess } from "./api";
import { el } from "./dom";
import { formatCount, formatDistance, type LatLng } from "../geometry";

/** Name of the opponent in texts. */
export const OPPONENT_NAME = "Landfall";

/** The opponent's guess; `null` if there is no opponent or it could not guess. */
export function opponentGuess(game: Game, i: number): Guess | null {
  return game.rival?.guesses[i] ?? null;
}

export function opponentPin(game: Game, i: number): LatLng | null {
  const guess = opponentGuess(game, i);
  return guess && guess.lat !== null && guess.lng !== null ? { lat: guess.lat, lng: guess.lng } : null;
}

/** Current total points of both. */
export function totals(game: Game): { person: number; machine: number } {
  return { person: Number(game.player.totalScore.amount), machine: Number(game.rival?.totalScore.amount ?? 0) };
}

/** Text that says who won. */
export function winnerText({ person, machine }: { person: number; machine: number }): string {
  if (person === machine) return "A draw";
  return person > machine ? "You won" : `${OPPONENT_NAME} won`;
}

/** The opponent's points and guess, and who was closer. */
export function opponentOutcome(game: Game, i: number): HTMLElement | null {
  if (!game.rival) return null;
  const guess = opponentGuess(game, i);
  const mine = game.player.guesses[i];
  if (!guess || !mine)
    return el("p", { class: "result-rival", "data-qa": "rival-result" }, `${OPPONENT_NAME} could not read this photo.`);
  const person = mine.roundScoreInPoints;
  const machine = guess.roundScoreInPoints;
  const closer =
    person === machine ? "A draw." : person > machine ? "You were closer." : `${OPPONENT_NAME} was closer.`;
  return el(
    "p",
    { class: "result-rival", "data-qa": "rival-result", "data-points": String(machine) },
    el("strong", {}, `${OPPONENT_NAME}: ${formatCount(machine)} points. `),
    `Its guess was ${game.rival.places[i] ?? "unknown"}, ${formatDistance(guess.distanceInMeters)} from the correct location. ${closer}`,
  );
}

/** The standing of the series; empty before the first game. */
export function series(map: GameMap): string {
  const { person = 0, machine = 0, draws = 0 } = map.arena.versus?.series ?? {};
  if (person + machine + draws === 0) return "";
  const drawn = draws === 0 ? "" : draws === 1 ? ", one draw" : `, ${draws} draws`;
  return `The series so far: you ${person}, ${OPPONENT_NAME} ${machine}${drawn}.`;
}
