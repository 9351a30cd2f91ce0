// Draws the share image of a game against the machine.

import type { Game } from "./api";
import { formatCount, formatDistance, wrapLng, type LatLng } from "../geometry";
import { OPPONENT_NAME, opponentGuess, opponentPin, totals } from "./opponent";

const WIDTH = 1200;
const MARGIN = 64;
const MAP_TOP = 216;
const MAP_HEIGHT = 620;
const ROW_HEIGHT = 52;
const FONT = "ui-sans-serif, system-ui, sans-serif";
/** Northern edge of the map; the southern edge follows from its height. */
const NORTH = 78;
/** At this zoom the world is 4 × 4 tiles. */
const ZOOM = 2;

/** Renders a PNG with locations, pins and scores. */
export async function renderShareImage(game: Game): Promise<Blob> {
  const canvas = document.createElement("canvas");
  const height = MAP_TOP + MAP_HEIGHT + 40 + game.player.guesses.length * ROW_HEIGHT + 76;
  [canvas.width, canvas.height] = [WIDTH, height];
  const ctx = canvas.getContext("2d");
  if (!ctx) throw new Error("The image could not be created: close other tabs and try again.");
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  ctx.fillStyle = colour("panel-solid");
  ctx.fillRect(0, 0, WIDTH, height);
  const { person, machine } = totals(game);
  const headline =
    person > machine
      ? `I beat ${OPPONENT_NAME}`
      : person < machine
        ? `${OPPONENT_NAME} beat me`
        : `A draw with ${OPPONENT_NAME}`;
  drawText(ctx, headline, MARGIN, 110, 64, colour("text"), 800);
  const playerText = `Me ${formatCount(person)}`;
  drawText(ctx, playerText, MARGIN, 172, 36, colour("pin"), 700);
  const playerWidth = ctx.measureText(playerText).width;
  drawText(ctx, `${OPPONENT_NAME} ${formatCount(machine)}`, MARGIN + playerWidth + 40, 172, 36, colour("rival"), 700);
  await drawMap(ctx, game, colour);
  game.player.guesses.forEach((guess, i) => {
    const y = MAP_TOP + MAP_HEIGHT + 66 + i * ROW_HEIGHT;
    const opponent = opponentGuess(game, i);
    drawText(ctx, `${i + 1}`, MARGIN, y, 28, colour("muted"), 500);
    drawText(ctx, game.rounds[i]?.name ?? "", MARGIN + 44, y, 28, colour("text"), 500, 510);
    const numbers = (points: number, metres: number | null) =>
      `${formatCount(points)}${metres === null ? "" : `  (${formatDistance(metres)})`}`;
    ctx.textAlign = "right";
    drawText(
      ctx,
      numbers(guess.roundScoreInPoints, guess.lat === null ? null : guess.distanceInMeters),
      872,
      y,
      26,
      colour("pin"),
      700,
      240,
    );
    const opponentText = opponent ? numbers(opponent.roundScoreInPoints, opponent.distanceInMeters) : "no guess";
    drawText(ctx, opponentText, WIDTH - MARGIN, y, 26, colour("rival"), 700, 240);
    ctx.textAlign = "left";
  });
  drawText(
    ctx,
    `Landfall arena, against ${game.rival?.name ?? "nobody"}`,
    MARGIN,
    height - 34,
    24,
    colour("muted"),
    500,
  );
  return new Promise((done, failed) => {
    canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("The image could not be created."))), "image/png");
  });
}

async function drawMap(ctx: CanvasRenderingContext2D, game: Game, colour: (name: string) => string): Promise<void> {
  const tiles = 2 ** ZOOM;
  const side = WIDTH / tiles;
  const top = mercator(NORTH) * WIDTH;
  ctx.save();
  ctx.translate(0, MAP_TOP);
  ctx.beginPath();
  ctx.rect(0, 0, WIDTH, MAP_HEIGHT);
  ctx.clip();
  const tileLoads = [...Array(tiles * tiles).keys()].map(async (i) => {
    const [x, y] = [i % tiles, Math.floor(i / tiles)];
    const tile = new Image();
    tile.src = `/tiles/${ZOOM}/${x}/${y}.png`;
    await tile.decode();
    ctx.drawImage(tile, x * side, y * side - top, side, side);
  });
  await Promise.all(tileLoads);
  const toPixel = ({ lat, lng }: LatLng): [number, number] => [
    ((wrapLng(lng) + 180) / 360) * WIDTH,
    mercator(lat) * WIDTH - top,
  ];
  game.player.guesses.forEach((guess, i) => {
    const round = game.rounds[i];
    if (round?.lat === undefined || round.lng === undefined) return;
    const truth = toPixel({ lat: round.lat, lng: round.lng });
    const playerPin = guess.lat !== null && guess.lng !== null ? { lat: guess.lat, lng: guess.lng } : null;
    const pins: [LatLng | null, string][] = [
      [opponentPin(game, i), colour("rival")],
      [playerPin, colour("pin")],
    ];
    for (const [place, paint] of pins) {
      if (!place) continue;
      ctx.strokeStyle = paint;
      ctx.lineWidth = 3;
      ctx.beginPath();
      ctx.moveTo(...toPixel(place));
      ctx.lineTo(...truth);
      ctx.stroke();
      drawDot(ctx, toPixel(place), 10, paint);
    }
    drawDot(ctx, truth, 8, colour("truth"));
  });
  ctx.restore();
}

function drawDot(ctx: CanvasRenderingContext2D, [x, y]: [number, number], radius: number, colour: string): void {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fillStyle = colour;
  ctx.fill();
  ctx.lineWidth = 3;
  ctx.strokeStyle = "#fff";
  ctx.stroke();
}

/** Vertical position of a latitude on the Mercator map, from 0 (top) to 1. */
function mercator(lat: number): number {
  return 0.5 - Math.asinh(Math.tan((lat * Math.PI) / 180)) / (2 * Math.PI);
}

/** Draws one line of text, condensed if it does not fit. */
function drawText(
  ctx: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  size: number,
  colour: string,
  weight: number,
  maxWidth?: number,
): void {
  ctx.font = `${weight} ${size}px ${FONT}`;
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y, maxWidth);
}
