// Formats predictions, numbers and errors as text.

import { formatCount } from "../geometry";
import type { Backend, Prediction, RejectedBackend, Status } from "../engine/types";

/** Upper limits of the radius that contains 50 % of the probability, in km, with their labels. */
const CONFIDENCE_LABELS: [number, string][] = [
  [60, "Very confident"],
  [300, "Confident"],
  [900, "Rough estimate"],
  [2500, "Uncertain"],
  [Infinity, "Very uncertain"],
];

/** Label for the confidence of a prediction. */
export function confidenceLabel({ radiusKm }: Pick<Prediction, "radiusKm">): string {
  return (CONFIDENCE_LABELS.find(([km]) => radiusKm.p50 <= km) ?? CONFIDENCE_LABELS[CONFIDENCE_LABELS.length - 1]!)[1];
}

/** "Near Lyon, France", or "Somewhere in Asia" if the prediction is doubtful. */
export function placeName({ place, area }: Pick<Prediction, "place" | "area">): string {
  return area === null ? capitalize(withArticle(place)) : `Somewhere ${withArticle(area)}`;
}

/** "in", before a country that takes the article, by its name in `model/data/countries.csv`. */
const WITHOUT_ARTICLE =
  /^in (?=United |(Democratic )?Republic |(Bahamas|Caribbean Netherlands|Comoros|Gambia|Maldives|Philippines|Vatican)$|.* (Islands|Republic|Territory|Territories)$)/;

/** "in the United States", from "in United States". */
export function withArticle(place: string): string {
  return place.replace(WITHOUT_ARTICLE, "in the ").replace(/^in The /, "in the ");
}

/** The radii of a prediction in words. */
export function formatRadii({ radiusKm }: Pick<Prediction, "radiusKm">): string {
  return `50 % probability within ${formatKm(radiusKm.p50)} of the pin, 90 % within ${formatKm(radiusKm.p90)}`;
}

/** Kilometres, rounded to two significant digits. */
function formatKm(km: number): string {
  return `${formatCount(Math.max(1, Number(km.toPrecision(2))))} km`;
}

/** "0.4 %", "12 %". */
export function formatPercent(p: number): string {
  const percentage = p * 100;
  if (percentage > 0 && percentage < 0.1) return "< 0.1 %";
  return `${percentage < 10 ? percentage.toFixed(1) : Math.round(percentage)} %`;
}

/** "412 ms", "2.3 s". */
export function formatDuration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** "4.3 MB". */
export function formatSize(bytes: number): string {
  const mb = bytes / 1e6;
  return `${mb < 10 ? mb.toFixed(1) : Math.round(mb)} MB`;
}

/** "Pocket model", from `name@version`. */
export function modelName({ bundle }: Pick<Prediction, "bundle">): string {
  return `${capitalize(bundle.replace(/@.*/, ""))} model`;
}

/** Name of the backend. */
export function formatBackend({ backend, threads }: Pick<Status, "backend" | "threads">): string {
  if (backend === "webgpu") return "GPU (WebGPU)";
  return `CPU, ${threads} ${threads === 1 ? "thread" : "threads"}`;
}

const BACKENDS: Record<Backend, string> = { webgpu: "GPU", "wasm-threads": "several threads", wasm: "CPU" };
const REJECTIONS: Record<RejectedBackend["reason"], string> = {
  wrong: "computes wrongly",
  slow: "too slow",
  late: "does not start",
  failed: "fails",
};

/** "Not used: GPU (computes wrongly)."; empty if nothing has been rejected. */
export function formatRejected(rejected: RejectedBackend[]): string {
  const list = rejected.map(({ backend, reason }) => `${BACKENDS[backend]} (${REJECTIONS[reason]})`);
  return list.length > 0 ? `Not used: ${list.join(", ")}.` : "";
}

/** Capitalizes the first letter. */
export function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Message for the user. */
export function errorMessage(error: unknown): string {
  return error instanceof Error && error.message ? error.message : "Something went wrong: try again.";
}
