// Compares the page's predictions with those of `landfall locate` in model/tests/golden/locate.jsonl, which a test of
// the agent keeps up to date (`agent/tests/e2e/cli.rs`).
import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { expect } from "vitest";
import type { BundleName, Engine, LatLng, Prediction } from "../types";

declare const globalThis: { engine: Engine };

/** A line of `landfall locate --json`. */
export interface LocateRecord extends LatLng {
  image: string;
  place: string;
  country: string | null;
  expected_score: number;
  radius_km: { p50: number; p90: number };
  top: (LatLng & { cell: string; p: number })[];
  bundle: string;
}

/** The predictions of `landfall locate` for every fixture image with a bundle. */
export function goldenPredictions(name: BundleName): LocateRecord[] {
  const file = new URL("../../../../model/tests/golden/locate.jsonl", import.meta.url);
  const lines = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line): LocateRecord => JSON.parse(line));
  return lines.filter(({ bundle }) => bundle.startsWith(`${name}@`));
}

/** Predicts the images with the page's engine, compares with the agent's predictions and prints both. */
export async function expectParity(page: Page, records: LocateRecord[]): Promise<void> {
  // As text: Playwright takes half a second to pass on the thousands of objects in a prediction.
  const json = await page.evaluate(
    async (images) => {
      const predictions = [];
      for (const image of images) predictions.push(await globalThis.engine.locate([await (await fetch(image)).blob()]));
      return JSON.stringify(predictions);
    },
    records.map(({ image }) => `/${image}`),
  );
  const predictions: Prediction[] = JSON.parse(json);

  expect(records).not.toHaveLength(0);
  const rows = records.map((agent, i) => compare(agent, predictions[i]!));
  console.log(`${records[0]?.bundle}\n${table(rows)}`);
  for (const row of rows) {
    expect(row.pageTop, row.image).toBe(row.agentTop);
    expect(row.pinsKm, row.image).toBeLessThan(1);
    expect(row.logDifference, row.image).toBeLessThan(1e-2);
  }
  for (const [i, { image, bundle, place, country, radius_km }] of records.entries()) {
    expect(predictions[i], image).toMatchObject({ bundle, place, country });
    // The radius jumps by some kilometres if the last cell inside it changes.
    for (const share of ["p50", "p90"] as const) {
      const difference = Math.abs(predictions[i]!.radiusKm[share] - radius_km[share]);
      expect(difference, `${image} ${share}`).toBeLessThanOrEqual(Math.max(2, 0.05 * radius_km[share]));
    }
  }
}

/** For one image: most likely cells, distance between the pins, largest difference in log-probability. */
function compare(agent: LocateRecord, page: Prediction) {
  const differences = agent.top.map(({ cell, p }) => {
    const same = page.cells.find(({ token }) => token === cell);
    return same ? Math.abs(Math.log(same.p / p)) : Infinity;
  });
  return {
    image: agent.image.replace("fixtures/rounds/", ""),
    agentTop: agent.top[0]!.cell,
    pageTop: page.cells[0]!.token,
    pinsKm: distanceKm(agent, page),
    logDifference: Math.max(...differences),
    ms: page.ms.total,
  };
}

function distanceKm(a: LatLng, b: LatLng): number {
  const rad = (degrees: number) => (degrees * Math.PI) / 180;
  const [dLat, dLng] = [rad(b.lat - a.lat) / 2, rad(b.lng - a.lng) / 2];
  const h = Math.sin(dLat) ** 2 + Math.cos(rad(a.lat)) * Math.cos(rad(b.lat)) * Math.sin(dLng) ** 2;
  return 2 * 6371 * Math.asin(Math.sqrt(h));
}

function table(rows: ReturnType<typeof compare>[]): string {
  const width = Math.max(...rows.map(({ image }) => image.length));
  const line = (...[image, agent, page, km, log, ms]: string[]) =>
    `${image?.padEnd(width)}  ${agent?.padEnd(9)} ${page?.padEnd(9)} ${km?.padStart(9)} ${log?.padStart(10)} ${ms?.padStart(6)}`;
  const body = rows.map(({ image, agentTop, pageTop, pinsKm, logDifference, ms }) =>
    line(image, agentTop, pageTop, pinsKm.toFixed(4), logDifference.toExponential(1), ms.toFixed(0)),
  );
  return [line("image", "agent", "page", "pins km", "log p", "ms"), ...body].join("\n");
}
