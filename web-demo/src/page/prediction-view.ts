// What the page says of an answer, and how it shows one on the map.

import { geoDistance } from "d3-geo";
import { el } from "../dom";
import type { Prediction, LatLng } from "../engine/types";
import type { Credit } from "./samples";
import type { Stage } from "./layout";
import { duration, odds, percent, sentenceCase, sureness } from "./labels";

const EARTH_KM = 6371;

/** Place, sureness and countries. */
export function answerText(answer: Prediction): HTMLElement {
  const most = answer.countries[0]?.p ?? 1;
  const views = answer.views > 1 ? `${answer.views} views, ` : "";
  return el(
    "div",
    { class: "answer" },
    el(
      "p",
      { class: "kicker" },
      el("strong", {}, sureness(answer)),
      el("span", { class: "answer-time" }, `${views}${duration(answer.ms.total)}`),
    ),
    el("h2", { class: "place" }, sentenceCase(answer.place)),
    el("p", { class: "odds" }, odds(answer)),
    el(
      "ol",
      { class: "countries", "aria-label": "Likeliest countries" },
      ...answer.countries.map(({ name, p }) =>
        el("li", {}, el("span", { class: "country" }, name), bar(p / most), el("span", { class: "share" }, percent(p))),
      ),
    ),
  );
}

/** A bar of a share from 0 to 1. */
export function bar(share: number): HTMLElement {
  const fill = el("span", { class: "bar-fill" });
  fill.style.setProperty("--share", String(Math.max(0, Math.min(1, share))));
  return el("span", { class: "bar", "aria-hidden": "true" }, fill);
}

/** Heat, regions and pin. The map goes there unless `still`. */
export function answerOnMap({ map }: Stage, answer: Prediction, still = false): void {
  map.showHeat(answer);
  map.showMarks([{ ...point(answer), kind: "guess" }]);
  map.describe(`World map: the pin is ${answer.place}`);
  if (!still) map.go(around(answer));
}

/** The places that must be seen for an answer to be understood: the pin and what of the half region lies around it. */
export function around(answer: Prediction): LatLng[] {
  if (answer.radiusKm.p50 > 4000) return [];
  const near = ({ lng, lat }: LatLng) => geoDistance([lng, lat], [answer.lng, answer.lat]) * EARTH_KM < 1.5 * answer.radiusKm.p50;
  const cells = answer.region50.flatMap((i) => answer.cells[i] ?? []);
  return [point(answer), ...cells.filter(near).map(point)];
}

export function point({ lat, lng }: LatLng): LatLng {
  return { lat, lng };
}

/** Who made a picture, as its licence asks. */
export function creditLine({ author, licence, link }: Credit): HTMLElement {
  const terms = link ? el("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, licence) : licence;
  return el("p", { class: "credit" }, `Picture: ${author}, `, terms);
}
