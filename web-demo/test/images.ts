// Images for the tests: fixtures and synthetic ones.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { crc32, deflateSync } from "node:zlib";

const ROUNDS = new URL("../../fixtures/rounds/", import.meta.url);

/** The path of a fixture's first view. */
export function fixture(name: string, view = "view_000.jpg"): string {
  return fileURLToPath(new URL(`${name}/${view}`, ROUNDS));
}

/** A file for Playwright's `setInputFiles`. */
export function upload(name: string, buffer: Buffer, mimeType = "image/jpeg") {
  return { name, mimeType, buffer };
}

/** A fixture image with GPS coordinates in its EXIF data. */
export function withGps(name: string, { lat, lng }: { lat: number; lng: number }): Buffer {
  const image = readFileSync(fixture(name));
  return Buffer.concat([image.subarray(0, 2), exif(lat, lng), image.subarray(2)]);
}

/** An EXIF segment that contains only GPS coordinates. */
function exif(lat: number, lng: number): Buffer {
  const tiff = Buffer.alloc(128);
  let at = 0;
  const entry = (tag: number, type: number, count: number, value: number | string) => {
    tiff.writeUInt16BE(tag, at);
    tiff.writeUInt16BE(type, at + 2);
    tiff.writeUInt32BE(count, at + 4);
    if (typeof value === "string") tiff.write(value, at + 8, "latin1");
    else tiff.writeUInt32BE(value, at + 8);
    at += 12;
  };
  tiff.write("MM\0*\0\0\0\x08", 0, "latin1");
  tiff.writeUInt16BE(1, 8);
  at = 10;
  entry(0x8825, 4, 1, 26);
  tiff.writeUInt16BE(4, 26);
  at = 28;
  entry(1, 2, 2, lat < 0 ? "S" : "N");
  entry(2, 5, 3, 80);
  entry(3, 2, 2, lng < 0 ? "W" : "E");
  entry(4, 5, 3, 104);
  for (const [start, degrees] of [
    [80, Math.abs(lat)],
    [104, Math.abs(lng)],
  ] as const) {
    const whole = Math.floor(degrees);
    const minutes = Math.floor((degrees - whole) * 60);
    const seconds = Math.round(((degrees - whole) * 60 - minutes) * 60 * 1000);
    [
      [whole, 1],
      [minutes, 1],
      [seconds, 1000],
    ].forEach(([value, unit], i) => {
      tiff.writeUInt32BE(value!, start + 8 * i);
      tiff.writeUInt32BE(unit!, start + 8 * i + 4);
    });
  }
  const head = Buffer.from("\xff\xe1\0\0Exif\0\0", "latin1");
  head.writeUInt16BE(tiff.length + 8, 2);
  return Buffer.concat([head, tiff]);
}

/** A single-colour PNG. */
export function plainPng(width: number, height: number): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const [size, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    size.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([size, body, sum]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head[8] = 1; // one bit per pixel
  const rows = deflateSync(Buffer.alloc((1 + Math.ceil(width / 8)) * height));
  const start = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");
  return Buffer.concat([start, chunk("IHDR", head), chunk("IDAT", rows), chunk("IEND", Buffer.alloc(0))]);
}
