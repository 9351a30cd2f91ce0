// Pure functions of the page: formatting, game rules, credits and locations.

import { expect, it } from "vitest";
import { drawRandom, roundWinner, totals, type PlayedRound } from "./game-rules";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { limitRounds } from "../../build/samples";
import { EXAMPLES, readCredit } from "./samples";
import {
  confidenceLabel,
  formatBackend,
  formatDuration,
  formatPercent,
  formatRadii,
  formatRejected,
  placeName,
  withArticle,
} from "./labels";

it("describes the confidence of a prediction", () => {
  const labels = [12, 200, 650, 2000, 9000].map((p50) => confidenceLabel({ radiusKm: { p50, p90: 10_000 } }));
  expect(labels).toEqual(["Very confident", "Confident", "Rough estimate", "Uncertain", "Very uncertain"]);
  expect(formatRadii({ radiusKm: { p50: 214.4, p90: 1472 } })).toBe(
    "50 % probability within 210 km of the pin, 90 % within 1,500 km",
  );
  expect(placeName({ place: "near Lyon, France", area: null })).toBe("Near Lyon, France");
  expect(placeName({ place: "near Lyon, France", area: "in Europe" })).toBe("Somewhere in Europe");
  const countries = ["United States", "The Netherlands", "Solomon Islands", "Republic of the Congo", "France"];
  expect(countries.map((name) => withArticle(`in ${name}`))).toEqual([
    "in the United States",
    "in the Netherlands",
    "in the Solomon Islands",
    "in the Republic of the Congo",
    "in France",
  ]);
});

it("formats percentages, durations and backends", () => {
  expect([0.314, 0.042, 0.0004, 0].map(formatPercent)).toEqual(["31 %", "4.2 %", "< 0.1 %", "0.0 %"]);
  expect([117.4, 2260].map(formatDuration)).toEqual(["117 ms", "2.3 s"]);
  const status = { threads: 4 };
  expect(formatBackend({ ...status, backend: "wasm-threads" })).toBe("CPU, 4 threads");
  expect(formatBackend({ ...status, backend: "wasm", threads: 1 })).toBe("CPU, 1 thread");
  expect(formatBackend({ ...status, backend: "webgpu" })).toBe("GPU (WebGPU)");
  expect(formatRejected([])).toBe("");
  expect(formatRejected([{ backend: "webgpu", reason: "wrong" }])).toBe("Not used: GPU (computes wrongly).");
});

it("draws random items without replacement", () => {
  expect(drawRandom([1, 2, 3, 4], 3, () => 0)).toEqual([1, 2, 3]);
  expect(drawRandom([1, 2, 3, 4], 9, () => 0.99).sort()).toEqual([1, 2, 3, 4]);
});

it("adds up the scores of a game", () => {
  const round = (player: number, model: number) =>
    ({ player: { points: player, distanceKm: 1 }, model: { points: model, distanceKm: 1 } }) as PlayedRound;
  expect(totals([round(4000, 4500), round(1200, 100)])).toEqual({ player: 5200, model: 4600 });
  expect([roundWinner(2, 1), roundWinner(1, 2), roundWinner(1, 1)]).toEqual([
    "You were closer.",
    "Landfall was closer.",
    "A draw.",
  ]);
});

it("parses credits", () => {
  const text =
    "A name\n\nAuthor:   Someone\nLicence:  CC-BY-2.0  https://creativecommons.org/licenses/by/2.0/\n          as stated in x\n";
  const link = "https://creativecommons.org/licenses/by/2.0/";
  expect(readCredit(text)).toEqual({ author: "Someone", licence: "CC-BY-2.0", link, text: text.trim() });
  expect(readCredit("Author: A\nLicence:  CC0-1.0\n")).toMatchObject({ licence: "CC0-1.0", link: null });
});


it("limits the sample photos of a build to some rounds", () => {
  const pattern = 'glob("../rounds/*/view_*.jpg")';
  expect(limitRounds(pattern, ["rome"])).toBe('glob("../rounds/rome/view_*.jpg")');
  expect(limitRounds(pattern, ["rome", "nagoya"])).toBe('glob("../rounds/{rome,nagoya}/view_*.jpg")');
});

it("has the examples of the start screen in a program that contains the pages", () => {
  const list = readFileSync(resolve(import.meta.dirname, "../../../fixtures/embedded.txt"), "utf8").split("\n");
  expect(EXAMPLES.filter(({ id }) => !list.includes(id))).toEqual([]);
  expect(EXAMPLES.length).toBeGreaterThan(0);
});
