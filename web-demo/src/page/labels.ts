// Numbers as words and short text.

import { formatCount } from "../geometry";
import type { Prediction, Status } from "../engine/types";

const SURE: [number, string][] = [
  [60, "Very sure"],
  [300, "Quite sure"],
  [900, "A good idea"],
  [2500, "Unsure"],
  [Infinity, "Mostly guessing"],
];

/** How sure an answer is, by the radius that holds half of the probability. */
export function sureness({ radiusKm }: Pick<Prediction, "radiusKm">): string {
  return (SURE.find(([km]) => radiusKm.p50 <= km) ?? SURE[SURE.length - 1]!)[1];
}

/** What that means in distances. */
export function odds({ radiusKm }: Pick<Prediction, "radiusKm">): string {
  return `Even odds that it is within ${roughly(radiusKm.p50)} of the pin; nine in ten, within ${roughly(radiusKm.p90)}.`;
}

/** Kilometres to two digits. */
function roughly(km: number): string {
  return `${formatCount(Math.max(1, Number(km.toPrecision(2))))} km`;
}

/** "0.4 %", "12 %". */
export function percent(p: number): string {
  const whole = p * 100;
  if (whole > 0 && whole < 0.1) return "< 0.1 %";
  return `${whole < 10 ? whole.toFixed(1) : Math.round(whole)} %`;
}

/** "412 ms", "2.3 s". */
export function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** "4.3 MB". */
export function size(bytes: number): string {
  const mb = bytes / 1e6;
  return `${mb < 10 ? mb.toFixed(1) : Math.round(mb)} MB`;
}

/** What computes, in a few words. */
export function backend({ backend, threads }: Status): string {
  if (backend === "webgpu") return "graphics chip (WebGPU)";
  return backend === "wasm-threads" ? `processor, ${threads} threads` : "processor, one thread";
}

/** With a capital at its start: "Near Lyon, France". */
export function sentenceCase(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What went wrong, as a sentence. */
export function sentence(error: unknown): string {
  return error instanceof Error && error.message ? error.message : "Something went wrong: try it once more.";
}
