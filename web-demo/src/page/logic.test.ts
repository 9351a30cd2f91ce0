// The page's pure parts: words, rules of the game, credits, places.

import { expect, it } from "vitest";
import { deal, totals, verdict, type Played } from "./game-rules";
import { readCredit } from "./samples";
import { isPlace } from "./location";
import { backend, duration, odds, percent, sureness } from "./labels";

it("says how sure an answer is", () => {
  const words = [12, 200, 650, 2000, 9000].map((p50) => sureness({ radiusKm: { p50, p90: 10_000 } }));
  expect(words).toEqual(["Very sure", "Quite sure", "A good idea", "Unsure", "Mostly guessing"]);
  expect(odds({ radiusKm: { p50: 214.4, p90: 1472 } })).toBe("Even odds that it is within 210 km of the pin; nine in ten, within 1,500 km.");
});

it("writes shares, times and what computes", () => {
  expect([0.314, 0.042, 0.0004, 0].map(percent)).toEqual(["31 %", "4.2 %", "< 0.1 %", "0.0 %"]);
  expect([117.4, 2260].map(duration)).toEqual(["117 ms", "2.3 s"]);
  expect(backend({ bundle: "pocket", backend: "wasm-threads", threads: 4, note: null })).toBe("processor, 4 threads");
});

it("deals rounds by chance, none twice", () => {
  expect(deal([1, 2, 3, 4], 3, () => 0)).toEqual([1, 2, 3]);
  expect(deal([1, 2, 3, 4], 9, () => 0.99).sort()).toEqual([1, 2, 3, 4]);
});

it("adds a game up", () => {
  const round = (player: number, model: number) =>
    ({ player: { points: player, distanceKm: 1 }, model: { points: model, distanceKm: 1 } }) as Played;
  expect(totals([round(4000, 4500), round(1200, 100)])).toEqual({ player: 5200, model: 4600 });
  expect([verdict(2, 1), verdict(1, 2), verdict(1, 1)]).toEqual(["You were closer.", "Landfall was closer.", "A draw."]);
});

it("reads who made a picture", () => {
  const text = "A name\n\nAuthor:   Someone\nLicence:  CC-BY-2.0  https://creativecommons.org/licenses/by/2.0/\n          as stated in x\n";
  const link = "https://creativecommons.org/licenses/by/2.0/";
  expect(readCredit(text)).toEqual({ author: "Someone", licence: "CC-BY-2.0", link, text: text.trim() });
  expect(readCredit("Author: A\nLicence:  CC0-1.0\n")).toMatchObject({ licence: "CC0-1.0", link: null });
});

it("knows a place from a camera that had none", () => {
  expect([isPlace(45, 4), isPlace(0, 0), isPlace(NaN, 4), isPlace(91, 0)]).toEqual([true, false, false, false]);
});
