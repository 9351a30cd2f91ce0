// Renders the PNG icons from public/icon.svg with Chromium. Run `node build/icons.mjs` after changing the SVG.

import { readFileSync, writeFileSync } from "node:fs";
import { chromium } from "playwright-core";

const folder = new URL("../public/", import.meta.url);
const svg = readFileSync(new URL("icon.svg", folder), "utf8");
// Masks crop up to a fifth of each side and Apple rounds the corners itself: square corners, and more padding for the
// mask.
const square = svg.replace(/ rx="\d+"/, "");
const padded = square.replace(/(<path[\s\S]*)(<\/svg>)/, '<g transform="translate(64 64) scale(.75)">$1</g>$2');

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
for (const [name, side, image] of [
  ["icon-192.png", 192, svg],
  ["icon-512.png", 512, svg],
  ["icon-maskable-512.png", 512, padded],
  ["apple-touch-icon.png", 180, square],
]) {
  const page = await browser.newPage({ viewport: { width: side, height: side } });
  await page.setContent(`<style>body{margin:0}svg{display:block;width:100vw}</style>${image}`);
  writeFileSync(new URL(name, folder), await page.screenshot({ omitBackground: true }));
  await page.close();
}
await browser.close();
