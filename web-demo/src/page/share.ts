// Draws the image to share, of a prediction or a game, and shares or saves it.

import type { Prediction } from "../engine/types";
import { formatCount, formatDistance } from "../geometry";
import { pointsToShow, toLatLng } from "./prediction-view";
import { drawMap, themeOf, transformToFit, type MapMarker, type Theme } from "./map-renderer";
import { createHeatmap } from "./heatmap";
import { totals, type PlayedRound } from "./game-rules";
import { announce } from "./layout";
import { coarseBasemap } from "./basemap";
import { confidenceLabel, formatDuration, formatRadii, placeName } from "./labels";

const WIDTH = 1080;
const HEIGHT = 1350;
const MARGIN = 64;
const FONT = "system-ui, sans-serif";

export type ShareContent = { prediction: Prediction; image: Blob } | { game: PlayedRound[] };

/** Opens the device's share dialog with the image, or downloads it where there is none. */
export async function share(content: ShareContent): Promise<void> {
  const canvas = await renderImage(content);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
  if (!blob) throw new Error("The image could not be created: close other tabs and try again.");
  const file = new File([blob], "landfall.png", { type: "image/png" });
  // Not supported by all browsers.
  if (navigator.canShare?.({ files: [file] })) {
    try {
      await navigator.share({ files: [file], title: "Landfall" });
    } catch (error) {
      // AbortError: the user cancelled.
      if (!(error instanceof DOMException && error.name === "AbortError")) save(file);
    }
    return;
  }
  save(file);
}

function save(file: File): void {
  const url = URL.createObjectURL(file);
  const link = document.createElement("a");
  link.href = url;
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  announce("The image was saved.");
}

async function renderImage(content: ShareContent): Promise<HTMLCanvasElement> {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [WIDTH, HEIGHT];
  const ctx = canvas.getContext("2d");
  if (!ctx) throw new Error("The image could not be created: close other tabs and try again.");
  const theme = themeOf(document.documentElement);
  ctx.fillStyle = theme.background;
  ctx.fillRect(0, 0, WIDTH, HEIGHT);
  if ("game" in content) drawGame(ctx, content.game, theme);
  else await drawPrediction(ctx, content.prediction, content.image, theme);
  return canvas;
}

async function drawPrediction(
  ctx: CanvasRenderingContext2D,
  prediction: Prediction,
  image: Blob,
  theme: Theme,
): Promise<void> {
  const bitmap = await createImageBitmap(image);
  drawCover(ctx, bitmap, [0, 0, WIDTH, 610]);
  bitmap.close();
  const marker: MapMarker = { ...toLatLng(prediction), kind: "prediction" };
  ctx.drawImage(mapCanvas([WIDTH, 440], pointsToShow(prediction), [marker], theme, prediction), 0, 610, WIDTH, 440);
  drawText(ctx, confidenceLabel(prediction), MARGIN, 1118, 600, 32, theme.accent);
  drawText(ctx, placeName(prediction), MARGIN, 1180, 700, 60, theme.foreground);
  drawText(ctx, formatRadii(prediction), MARGIN, 1232, 400, 28, theme.text);
  drawText(
    ctx,
    `Predicted by Landfall on this device in ${formatDuration(prediction.ms.total)}`,
    MARGIN,
    1298,
    500,
    28,
    theme.text,
  );
}

function drawGame(ctx: CanvasRenderingContext2D, game: PlayedRound[], theme: Theme): void {
  const { player, model } = totals(game);
  drawText(
    ctx,
    player > model ? "I beat Landfall" : player === model ? "A draw with Landfall" : "Landfall beat me",
    MARGIN,
    130,
    700,
    68,
    theme.foreground,
  );
  drawText(ctx, `${formatCount(player)} to ${formatCount(model)} points`, MARGIN, 190, 500, 40, theme.accent);
  const markers = game.flatMap(({ guess, prediction, truth }): MapMarker[] => [
    { ...truth, kind: "truth" },
    { ...toLatLng(prediction), kind: "prediction" },
    { ...guess, kind: "player" },
  ]);
  ctx.drawImage(mapCanvas([WIDTH, 560], [], markers, theme, null), 0, 250, WIDTH, 560);
  game.forEach(({ name, player: playerScore, model: modelScore }, i) => {
    const y = 890 + i * 78;
    drawText(ctx, name, MARGIN, y, 500, 32, theme.foreground, WIDTH - 2 * MARGIN - 440);
    const numbers = `${formatCount(playerScore.points)}  :  ${formatCount(modelScore.points)}`;
    ctx.textAlign = "right";
    drawText(ctx, numbers, WIDTH - MARGIN, y, 600, 32, theme.foreground);
    drawText(
      ctx,
      `${formatDistance(playerScore.distanceKm * 1000)} and ${formatDistance(modelScore.distanceKm * 1000)} off`,
      WIDTH - MARGIN,
      y + 32,
      400,
      22,
      theme.text,
    );
    ctx.textAlign = "left";
  });
  drawText(
    ctx,
    `Landfall: ${game.length === 1 ? "one round" : `${game.length} rounds`}, guessed only from photos`,
    MARGIN,
    1310,
    500,
    28,
    theme.text,
  );
}

/** Draws a map at scale 2, so that its markers are large. */
function mapCanvas(
  [width, height]: [number, number],
  places: Parameters<typeof transformToFit>[0],
  markers: MapMarker[],
  theme: Theme,
  prediction: Prediction | null,
) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const ctx = canvas.getContext("2d");
  ctx?.scale(2, 2);
  const box: [number, number] = [width / 2, height / 2];
  const scene = {
    basemap: coarseBasemap(),
    heatmap: prediction && createHeatmap(prediction, theme.accent),
    markers,
    lines: [],
    showLabels: false,
  };
  if (ctx) drawMap(ctx, box, transformToFit(places, box, 3.5), scene, theme);
  return canvas;
}

function drawCover(
  ctx: CanvasRenderingContext2D,
  image: ImageBitmap,
  [x, y, width, height]: [number, number, number, number],
): void {
  const scale = Math.max(width / image.width, height / image.height);
  const [w, h] = [width / scale, height / scale];
  ctx.drawImage(image, (image.width - w) / 2, (image.height - h) / 2, w, h, x, y, width, height);
}

/** Draws one line of text, in a smaller size if it does not fit. */
function drawText(
  ctx: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  weight: number,
  size: number,
  colour: string,
  maxWidth = WIDTH - 2 * MARGIN,
): void {
  ctx.font = `${weight} ${size}px ${FONT}`;
  const textWidth = ctx.measureText(text).width;
  if (textWidth > maxWidth) ctx.font = `${weight} ${(size * maxWidth) / textWidth}px ${FONT}`;
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y);
}
