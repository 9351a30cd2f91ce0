// The rules of a game of a person against the model: which rounds are played, and how it stands.

import type { Prediction, LatLng } from "../engine/types";

export const ROUNDS_A_GAME = 5;

export interface Score {
  points: number;
  distanceKm: number;
}

/** A round that both have guessed. */
export interface Played {
  name: string;
  truth: LatLng;
  guess: LatLng;
  answer: Prediction;
  player: Score;
  model: Score;
}

export function totals(game: Played[]): { player: number; model: number } {
  const sum = (of: (round: Played) => number) => game.reduce((total, round) => total + of(round), 0);
  return { player: sum(({ player }) => player.points), model: sum(({ model }) => model.points) };
}

/** Some of all, in an order of chance; `chance` gives numbers in [0, 1). */
export function deal<T>(all: T[], count: number, chance: () => number = Math.random): T[] {
  const rest = [...all];
  const drawn: T[] = [];
  while (drawn.length < count && rest.length) drawn.push(...rest.splice(Math.floor(chance() * rest.length), 1));
  return drawn;
}

/** Who is ahead, in a sentence. */
export function verdict(player: number, model: number): string {
  if (player === model) return "A draw.";
  return player > model ? "You were closer." : "Landfall was closer.";
}
