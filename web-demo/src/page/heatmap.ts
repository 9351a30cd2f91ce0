// The heatmap of a prediction and the outlines of its credible regions.

import type { CellProbability, Prediction } from "../engine/types";
import { ringToPolygon, toPath, WORLD_SIZE } from "./basemap";

/** Opacity of the most likely cell. */
const MAX_OPACITY = 0.8;
/** The same for a very uncertain prediction, whose cells and 90 % region cover most of the map. */
const FAINT_OPACITY = 0.35;
/** Radius of half of the probability in km above which a prediction is drawn faintly, without its 90 % region. */
const FAINT_KM = 2500;

export interface Heatmap {
  /** The whole world, `WORLD_SIZE` pixels wide and high. */
  image: HTMLCanvasElement;
  region50: Path2D;
  region90: Path2D;
}

/** Paths of cells by token, cached because live predictions use the same cells repeatedly. */
const paths = new Map<string, Path2D>();

function pathOf({ token, ring }: CellProbability): Path2D {
  const path = paths.get(token) ?? toPath(ringToPolygon(ring));
  paths.set(token, path);
  return path;
}

/**
 * Draws the cells in one colour. The opacity of a cell is proportional to the probability that more likely cells
 * leave.
 */
export function createHeatmap({ cells, region50, region90, radiusKm }: Prediction, colour: string): Heatmap {
  const isFaint = radiusKm.p50 > FAINT_KM;
  const maxOpacity = isFaint ? FAINT_OPACITY : MAX_OPACITY;
  const [cellsCanvas, image] = [canvas(), canvas()];
  const cellsCtx = cellsCanvas.getContext("2d");
  const imageCtx = image.getContext("2d");
  if (cellsCtx && imageCtx) {
    cellsCtx.fillStyle = colour;
    let remaining = 1;
    for (const cell of cells) {
      cellsCtx.globalAlpha = Math.max(0, maxOpacity * remaining);
      // Fainter cells are invisible.
      if (cellsCtx.globalAlpha < 0.01) break;
      cellsCtx.fill(pathOf(cell));
      remaining -= cell.p;
    }
    // Blur to hide the seams between cells; browsers without canvas filters show them.
    imageCtx.filter = "blur(1.2px)";
    imageCtx.drawImage(cellsCanvas, 0, 0);
  }
  const region = (indices: number[]) => {
    const path = new Path2D();
    for (const i of indices) if (cells[i]) path.addPath(pathOf(cells[i]));
    return path;
  };
  return { image, region50: region(region50), region90: region(isFaint ? [] : region90) };
}

function canvas(): HTMLCanvasElement {
  const element = document.createElement("canvas");
  element.width = element.height = WORLD_SIZE;
  return element;
}
