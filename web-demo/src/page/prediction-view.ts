// Shows a prediction as text and on the map.

import { geoDistance } from "d3-geo";
import { el } from "../dom";
import type { LatLng, Prediction } from "../engine/types";
import type { Credit } from "./samples";
import type { Layout } from "./layout";
import { confidenceLabel, formatDuration, formatPercent, formatRadii, modelName, placeName, withArticle } from "./labels";

const EARTH_KM = 6371;

/** Place, confidence and the most likely countries. Unless `isFinal`, a better prediction of the same views follows. */
export function predictionText(prediction: Prediction, isFinal = true): HTMLElement {
  const highest = prediction.countries[0]?.p ?? 1;
  const views = prediction.views > 1 ? `${prediction.views} views, ` : "";
  const time = isFinal ? formatDuration(prediction.ms.total) : "refining…";
  return el(
    "div",
    { class: "prediction" },
    el(
      "p",
      { class: "headline" },
      el("strong", {}, confidenceLabel(prediction)),
      el("span", { class: "prediction-time" }, `${modelName(prediction)}, ${views}${time}`),
    ),
    el("h2", { class: "place-name" }, placeName(prediction)),
    el("p", { class: "radii" }, formatRadii(prediction)),
    ...prediction.warnings.map((warning) => el("p", { class: "note" }, `Warning: ${warning}.`)),
    el(
      "ol",
      { class: "countries", "aria-label": "Most likely countries" },
      ...prediction.countries.map(({ name, p }) =>
        el(
          "li",
          {},
          el("span", { class: "country" }, name),
          bar(p / highest),
          el("span", { class: "probability" }, formatPercent(p)),
        ),
      ),
    ),
  );
}

/** A bar for a fraction from 0 to 1. */
export function bar(fraction: number): HTMLElement {
  const fill = el("span", { class: "bar-fill" });
  fill.style.setProperty("--fraction", String(Math.max(0, Math.min(1, fraction))));
  return el("span", { class: "bar", "aria-hidden": "true" }, fill);
}

/** Shows heatmap, credible regions and pin, and moves the map there unless `keepView` is set. */
export function showOnMap({ map }: Layout, prediction: Prediction, keepView = false): void {
  map.showHeatmap(prediction);
  map.showMarkers([{ ...toLatLng(prediction), kind: "prediction" }]);
  map.describe(`World map: the pin is ${withArticle(prediction.area ?? prediction.place)}`);
  if (!keepView) map.fitTo(pointsToShow(prediction));
}

/**
 * The points that the map should show: the pin and nearby cells of the 50 % region. Empty, for the whole world, if the
 * prediction is very uncertain.
 */
export function pointsToShow(prediction: Prediction): LatLng[] {
  if (prediction.radiusKm.p50 > 4000) return [];
  const near = ({ lng, lat }: LatLng) =>
    geoDistance([lng, lat], [prediction.lng, prediction.lat]) * EARTH_KM < 1.5 * prediction.radiusKm.p50;
  const cells = prediction.region50.flatMap((i) => prediction.cells[i] ?? []);
  return [toLatLng(prediction), ...cells.filter(near).map(toLatLng)];
}

export function toLatLng({ lat, lng }: LatLng): LatLng {
  return { lat, lng };
}

/** Author and licence of a photo. */
export function creditLine({ author, licence, link }: Credit): HTMLElement {
  const terms = link ? el("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, licence) : licence;
  return el("p", { class: "credit" }, `Photo: ${author}, `, terms);
}
