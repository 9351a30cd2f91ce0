// The page's answers beside `landfall locate`'s: model/tests/golden/locate.jsonl, which a test of the agent keeps
// (`agent/tests/e2e/cli.rs`).
import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { expect } from "vitest";
import type { Answer, BundleName, Engine, Point } from "../types";

declare const globalThis: { engine: Engine };

/** A line of `landfall locate --json`. */
export interface Located extends Point {
  image: string;
  place: string;
  country: string | null;
  expected_score: number;
  radius_km: { p50: number; p90: number };
  top: (Point & { cell: string; p: number })[];
  bundle: string;
}

/** What `landfall locate` says of every fixture picture with a bundle. */
export function golden(name: BundleName): Located[] {
  const file = new URL("../../../../model/tests/golden/locate.jsonl", import.meta.url);
  const lines = readFileSync(file, "utf8").trim().split("\n").map((line): Located => JSON.parse(line));
  return lines.filter(({ bundle }) => bundle.startsWith(`${name}@`));
}

/** Has the page's engine locate the pictures, and holds what it says against what the agent said of them; prints both. */
export async function agree(page: Page, located: Located[]): Promise<void> {
  const answers = await page.evaluate(async (images) => {
    const answers = [];
    for (const image of images) answers.push(await globalThis.engine.locate([await (await fetch(image)).blob()]));
    return answers;
  }, located.map(({ image }) => `/${image}`));

  expect(located).not.toHaveLength(0);
  const rows = located.map((agent, i) => compare(agent, answers[i]!));
  console.log(`${located[0]?.bundle}\n${table(rows)}`);
  for (const row of rows) {
    expect(row.pageTop, row.image).toBe(row.agentTop);
    expect(row.apartKm, row.image).toBeLessThan(1);
    expect(row.apartLog, row.image).toBeLessThan(1e-2);
  }
  for (const [i, { image, bundle, place, country, radius_km }] of located.entries()) {
    expect(answers[i], image).toMatchObject({ bundle, place, country });
    // Where the last cell within falls out, the next one is some kilometres farther.
    for (const share of ["p50", "p90"] as const) {
      const apart = Math.abs(answers[i]!.radiusKm[share] - radius_km[share]);
      expect(apart, `${image} ${share}`).toBeLessThanOrEqual(Math.max(2, 0.05 * radius_km[share]));
    }
  }
}

/** One picture, page against agent: likeliest cells, the pins' distance, the largest difference of a log-probability. */
function compare(agent: Located, page: Answer) {
  const apart = agent.top.map(({ cell, p }) => {
    const same = page.cells.find(({ token }) => token === cell);
    return same ? Math.abs(Math.log(same.p / p)) : Infinity;
  });
  return {
    image: agent.image.replace("fixtures/rounds/", ""),
    agentTop: agent.top[0]!.cell,
    pageTop: page.cells[0]!.token,
    apartKm: distanceKm(agent, page),
    apartLog: Math.max(...apart),
    ms: page.ms.total,
  };
}

function distanceKm(a: Point, b: Point): number {
  const rad = (degrees: number) => (degrees * Math.PI) / 180;
  const [dLat, dLng] = [rad(b.lat - a.lat) / 2, rad(b.lng - a.lng) / 2];
  const h = Math.sin(dLat) ** 2 + Math.cos(rad(a.lat)) * Math.cos(rad(b.lat)) * Math.sin(dLng) ** 2;
  return 2 * 6371 * Math.asin(Math.sqrt(h));
}

function table(rows: ReturnType<typeof compare>[]): string {
  const width = Math.max(...rows.map(({ image }) => image.length));
  const line = (...[image, agent, page, km, log, ms]: string[]) =>
    `${image?.padEnd(width)}  ${agent?.padEnd(9)} ${page?.padEnd(9)} ${km?.padStart(9)} ${log?.padStart(10)} ${ms?.padStart(6)}`;
  const body = rows.map(({ image, agentTop, pageTop, apartKm, apartLog, ms }) =>
    line(image, agentTop, pageTop, apartKm.toFixed(4), apartLog.toExponential(1), ms.toFixed(0)),
  );
  return [line("picture", "agent", "page", "pins km", "log p", "ms"), ...body].join("\n");
}
