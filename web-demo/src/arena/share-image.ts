// The picture of a game against the machine that people send each other, made in the browser.

import type { Game } from "./api";
import { formatCount, formatDistance, wrapLng, type LatLng } from "../geometry";
import { RIVAL, rivalsGuess, rivalsPin, totals } from "./opponent";

const WIDTH = 1200;
const EDGE = 64;
const MAP_TOP = 216;
const MAP_HEIGHT = 620;
const ROW = 52;
const FONT = "ui-sans-serif, system-ui, sans-serif";
/** The map's northern edge. South, the box ends before the ice does. */
const NORTH = 78;
/** Four tiles a side at this zoom. */
const ZOOM = 2;

/** PNG of the places, the pins of both, and how it ended. */
export async function card(game: Game): Promise<Blob> {
  const canvas = document.createElement("canvas");
  const height = MAP_TOP + MAP_HEIGHT + 40 + game.player.guesses.length * ROW + 76;
  [canvas.width, canvas.height] = [WIDTH, height];
  const ctx = canvas.getContext("2d");
  if (!ctx) throw new Error("The picture could not be made: close other tabs and try again.");
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  ctx.fillStyle = colour("panel-solid");
  ctx.fillRect(0, 0, WIDTH, height);
  const { person, machine } = totals(game);
  const verdict = person > machine ? `I beat ${RIVAL}` : person < machine ? `${RIVAL} beat me` : `A draw with ${RIVAL}`;
  write(ctx, verdict, EDGE, 110, 64, colour("text"), 800);
  write(ctx, `I ${formatCount(person)}`, EDGE, 172, 36, colour("pin"), 700);
  const mine = ctx.measureText(`I ${formatCount(person)}`).width;
  write(ctx, `${RIVAL} ${formatCount(machine)}`, EDGE + mine + 40, 172, 36, colour("rival"), 700);
  await paintMap(ctx, game, colour);
  game.player.guesses.forEach((guess, i) => {
    const y = MAP_TOP + MAP_HEIGHT + 66 + i * ROW;
    const rival = rivalsGuess(game, i);
    write(ctx, `${i + 1}`, EDGE, y, 28, colour("muted"), 500);
    write(ctx, game.rounds[i]?.name ?? "", EDGE + 44, y, 28, colour("text"), 500, 510);
    const numbers = (points: number, metres: number | null) =>
      `${formatCount(points)}${metres === null ? "" : `  (${formatDistance(metres)})`}`;
    ctx.textAlign = "right";
    write(ctx, numbers(guess.roundScoreInPoints, guess.lat === null ? null : guess.distanceInMeters), 872, y, 26, colour("pin"), 700, 240);
    const its = rival ? numbers(rival.roundScoreInPoints, rival.distanceInMeters) : "no answer";
    write(ctx, its, WIDTH - EDGE, y, 26, colour("rival"), 700, 240);
    ctx.textAlign = "left";
  });
  write(ctx, `Landfall arena, against ${game.rival?.name ?? "nobody"}`, EDGE, height - 34, 24, colour("muted"), 500);
  return new Promise((done, failed) => {
    canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("The picture could not be made."))), "image/png");
  });
}

async function paintMap(ctx: CanvasRenderingContext2D, game: Game, colour: (name: string) => string): Promise<void> {
  const tiles = 2 ** ZOOM;
  const side = WIDTH / tiles;
  const top = mercator(NORTH) * WIDTH;
  ctx.save();
  ctx.translate(0, MAP_TOP);
  ctx.beginPath();
  ctx.rect(0, 0, WIDTH, MAP_HEIGHT);
  ctx.clip();
  const wanted = [...Array(tiles * tiles).keys()].map(async (i) => {
    const [x, y] = [i % tiles, Math.floor(i / tiles)];
    const tile = new Image();
    tile.src = `/tiles/${ZOOM}/${x}/${y}.png`;
    await tile.decode();
    ctx.drawImage(tile, x * side, y * side - top, side, side);
  });
  await Promise.all(wanted);
  const at = ({ lat, lng }: LatLng): [number, number] => [((wrapLng(lng) + 180) / 360) * WIDTH, mercator(lat) * WIDTH - top];
  game.player.guesses.forEach((guess, i) => {
    const round = game.rounds[i];
    if (round?.lat === undefined || round.lng === undefined) return;
    const truth = at({ lat: round.lat, lng: round.lng });
    const mine = guess.lat !== null && guess.lng !== null ? { lat: guess.lat, lng: guess.lng } : null;
    const pins: [LatLng | null, string][] = [[rivalsPin(game, i), colour("rival")], [mine, colour("pin")]];
    for (const [place, paint] of pins) {
      if (!place) continue;
      ctx.strokeStyle = paint;
      ctx.lineWidth = 3;
      ctx.beginPath();
      ctx.moveTo(...at(place));
      ctx.lineTo(...truth);
      ctx.stroke();
      dot(ctx, at(place), 10, paint);
    }
    dot(ctx, truth, 8, colour("truth"));
  });
  ctx.restore();
}

function dot(ctx: CanvasRenderingContext2D, [x, y]: [number, number], radius: number, colour: string): void {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fillStyle = colour;
  ctx.fill();
  ctx.lineWidth = 3;
  ctx.strokeStyle = "#fff";
  ctx.stroke();
}

/** How far down the square map of the world a latitude is, from 0 to 1. */
function mercator(lat: number): number {
  return 0.5 - Math.asinh(Math.tan((lat * Math.PI) / 180)) / (2 * Math.PI);
}

/** One line, made narrower when it would not fit. */
function write(
  ctx: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  size: number,
  colour: string,
  weight: number,
  room?: number,
): void {
  ctx.font = `${weight} ${size}px ${FONT}`;
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y, room);
}
