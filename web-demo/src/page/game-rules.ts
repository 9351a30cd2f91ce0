// Rules of a game of the player against the model: choice of rounds and scores.

import type { Prediction, LatLng } from "../engine/types";

export const ROUNDS_PER_GAME = 5;

export interface Score {
  points: number;
  distanceKm: number;
}

/** A round with the guesses and scores of both. */
export interface PlayedRound {
  name: string;
  truth: LatLng;
  guess: LatLng;
  prediction: Prediction;
  player: Score;
  model: Score;
}

export function totals(game: PlayedRound[]): { player: number; model: number } {
  const sum = (of: (round: PlayedRound) => number) => game.reduce((total, round) => total + of(round), 0);
  return { player: sum(({ player }) => player.points), model: sum(({ model }) => model.points) };
}

/** Draws `count` random items without replacement. `random` returns numbers in [0, 1). */
export function drawRandom<T>(items: T[], count: number, random: () => number = Math.random): T[] {
  const remaining = [...items];
  const drawn: T[] = [];
  while (drawn.length < count && remaining.length)
    drawn.push(...remaining.splice(Math.floor(random() * remaining.length), 1));
  return drawn;
}

/** Text that says who was closer, given the points of both. */
export function roundWinner(player: number, model: number): string {
  if (player === model) return "A draw.";
  return player > model ? "You were closer." : "Landfall was closer.";
}
