// Client of the arena's API, which has the same format as the live game's.

import type { LatLng } from "../geometry";
import type { Structure } from "./structure";

export interface GameMap {
  slug: string;
  name: string;
  arena: {
    places: number;
    roundCount: number;
    consent: boolean;
    interstitial: boolean;
    levelUp: boolean;
    structure: Structure;
    /** The machine opponent, if any, and the games won by each side. */
    versus?: { name: string; series: { person: number; machine: number; draws: number } };
  };
}

export interface Rules {
  timeLimit: number;
  forbidMoving: boolean;
  forbidZooming: boolean;
  forbidRotating: boolean;
}

export interface Round extends Partial<LatLng> {
  heading: number;
  startTime: string;
  picture: { url: string; kind: "panorama" | "photo" };
  name?: string | null;
  credits?: string | null;
}

export interface Guess {
  lat: number | null;
  lng: number | null;
  timedOut: boolean;
  timedOutWithGuess: boolean;
  roundScoreInPoints: number;
  distanceInMeters: number;
}

export interface Game extends Rules {
  token: string;
  state: "started" | "finished";
  map: string;
  mapName: string;
  roundCount: number;
  round: number;
  rounds: Round[];
  player: { totalScore: { amount: string }; guesses: Guess[] };
  /** The machine opponent's guesses, for the rounds that the player has guessed. */
  rival?: { name: string; totalScore: { amount: string }; guesses: (Guess | null)[]; places: (string | null)[] };
}

/** An error response of the server; the message is written for the player. */
export class ApiError extends Error {}

async function call<T>(path: string, body?: unknown): Promise<T> {
  const request: RequestInit =
    body === undefined
      ? { cache: "no-store" }
      : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let response: Response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new ApiError("The arena does not respond. Is it still running?");
  }
  const json: unknown = await response.json().catch(() => null);
  if (!response.ok || json === null) {
    const { message } = (json ?? {}) as { message?: string };
    throw new ApiError(message ?? `The arena responded with ${response.status} ${response.statusText}.`);
  }
  return json as T;
}

/** The map of this arena, whatever its name. */
export function readMap(): Promise<GameMap> {
  return call("/api/maps/arena");
}

export function createGame(map: string, rules: Rules): Promise<Game> {
  return call("/api/v3/games", { ...rules, map, type: "standard" });
}

/** Reads the game. After a guess this starts the next round. */
export function readGame(token: string): Promise<Game> {
  return call(`/api/v3/games/${encodeURIComponent(token)}?client=web`);
}

export function sendGuess(token: string, pin: LatLng | null, timedOut: boolean): Promise<Game> {
  return call(`/api/v3/games/${encodeURIComponent(token)}`, { token, ...pin, timedOut, stepsCount: 0 });
}
