// The picture that people send each other, made on the device: of an answer, or of a game.

import type { Prediction } from "../engine/types";
import { formatCount, formatDistance } from "../geometry";
import { around, point } from "./prediction-view";
import { draw, themeOf, viewOf, type Mark, type Theme } from "./map-renderer";
import { heatOf } from "./heatmap";
import { totals, type Played } from "./game-rules";
import { announce } from "./layout";
import { coarseLand } from "./basemap";
import { duration, odds, sentenceCase, sureness } from "./labels";

const WIDTH = 1080;
const HEIGHT = 1350;
const EDGE = 64;
const FONT = "system-ui, sans-serif";

export type Shared = { answer: Prediction; picture: Blob } | { game: Played[] };

/** Hands the picture to the device's own way of sharing; where there is none, it is saved as a file. */
export async function share(what: Shared): Promise<void> {
  const canvas = await paint(what);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
  if (!blob) throw new Error("The picture could not be made: close other tabs and try again.");
  const file = new File([blob], "landfall.png", { type: "image/png" });
  // Not every browser has these.
  if (navigator.canShare?.({ files: [file] })) {
    try {
      await navigator.share({ files: [file], title: "Landfall" });
    } catch (error) {
      // The person thought better of it.
      if (!(error instanceof DOMException && error.name === "AbortError")) save(file);
    }
    return;
  }
  save(file);
}

function save(file: File): void {
  const address = URL.createObjectURL(file);
  const link = document.createElement("a");
  link.href = address;
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  announce("The picture was saved.");
}

async function paint(what: Shared): Promise<HTMLCanvasElement> {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [WIDTH, HEIGHT];
  const ctx = canvas.getContext("2d");
  if (!ctx) throw new Error("The picture could not be made: close other tabs and try again.");
  const theme = themeOf(document.documentElement);
  ctx.fillStyle = theme.paper;
  ctx.fillRect(0, 0, WIDTH, HEIGHT);
  if ("game" in what) paintGame(ctx, what.game, theme);
  else await paintAnswer(ctx, what.answer, what.picture, theme);
  return canvas;
}

async function paintAnswer(ctx: CanvasRenderingContext2D, answer: Prediction, picture: Blob, theme: Theme): Promise<void> {
  const shown = await createImageBitmap(picture);
  cover(ctx, shown, [0, 0, WIDTH, 610]);
  shown.close();
  const guess: Mark = { ...point(answer), kind: "guess" };
  ctx.drawImage(map([WIDTH, 440], around(answer), [guess], theme, answer), 0, 610, WIDTH, 440);
  write(ctx, sureness(answer), EDGE, 1118, 600, 32, theme.accent);
  write(ctx, sentenceCase(answer.place), EDGE, 1180, 700, 60, theme.ink);
  write(ctx, odds(answer), EDGE, 1232, 400, 28, theme.text);
  write(ctx, `Landfall, on this device, in ${duration(answer.ms.total)}`, EDGE, 1298, 500, 28, theme.text);
}

function paintGame(ctx: CanvasRenderingContext2D, game: Played[], theme: Theme): void {
  const { player, model } = totals(game);
  write(ctx, player > model ? "I beat Landfall" : player === model ? "A draw with Landfall" : "Landfall beat me", EDGE, 130, 700, 68, theme.ink);
  write(ctx, `${formatCount(player)} to ${formatCount(model)} points`, EDGE, 190, 500, 40, theme.accent);
  const marks = game.flatMap(({ guess, answer, truth }): Mark[] => [
    { ...truth, kind: "truth" },
    { ...point(answer), kind: "guess" },
    { ...guess, kind: "player" },
  ]);
  ctx.drawImage(map([WIDTH, 560], [], marks, theme, null), 0, 250, WIDTH, 560);
  game.forEach(({ name, player: mine, model: its }, i) => {
    const y = 890 + i * 78;
    write(ctx, name, EDGE, y, 500, 32, theme.ink, WIDTH - 2 * EDGE - 440);
    const numbers = `${formatCount(mine.points)}  :  ${formatCount(its.points)}`;
    ctx.textAlign = "right";
    write(ctx, numbers, WIDTH - EDGE, y, 600, 32, theme.ink);
    write(ctx, `${formatDistance(mine.distanceKm * 1000)} and ${formatDistance(its.distanceKm * 1000)} off`, WIDTH - EDGE, y + 32, 400, 22, theme.text);
    ctx.textAlign = "left";
  });
  write(ctx, `Landfall: ${game.length === 1 ? "a place" : `${game.length} places`}, guessed from pictures alone`, EDGE, 1310, 500, 28, theme.text);
}

/** A map of its own, at twice the pixels of a page's so that its marks are large. */
function map([width, height]: [number, number], places: Parameters<typeof viewOf>[0], marks: Mark[], theme: Theme, answer: Prediction | null) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const ctx = canvas.getContext("2d");
  ctx?.scale(2, 2);
  const box: [number, number] = [width / 2, height / 2];
  const scene = { land: coarseLand(), heat: answer && heatOf(answer, theme.accent), marks, lines: [], names: false };
  if (ctx) draw(ctx, box, viewOf(places, box, 3.5), scene, theme);
  return canvas;
}

function cover(ctx: CanvasRenderingContext2D, picture: ImageBitmap, [x, y, width, height]: [number, number, number, number]): void {
  const scale = Math.max(width / picture.width, height / picture.height);
  const [w, h] = [width / scale, height / scale];
  ctx.drawImage(picture, (picture.width - w) / 2, (picture.height - h) / 2, w, h, x, y, width, height);
}

/** One line, made smaller when it would not fit. */
function write(
  ctx: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  weight: number,
  size: number,
  colour: string,
  room = WIDTH - 2 * EDGE,
): void {
  ctx.font = `${weight} ${size}px ${FONT}`;
  const wide = ctx.measureText(text).width;
  if (wide > room) ctx.font = `${weight} ${(size * room) / wide}px ${FONT}`;
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y);
}
