// A larger bundle for tests: pocket under the name of phone, compressed and in small parts.

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { split } from "../build/bundles.ts";
import { MAX_PART_BYTES, PARTS_FILE, type Manifest, type Part } from "../src/engine/manifest.ts";

const PART_BYTES = 1_500_000;
/** A comment in an ONNX file, which makes it another file than that of pocket. */
const DOC_STRING = Buffer.from([0x32, 1, 0x78]);

/** Copies a build to a new folder and adds the bundle. Returns the folder and the parts of the encoder. */
export function withPhoneBundle(dist: string): { folder: string; parts: Part[] } {
  const folder = mkdtempSync(join(tmpdir(), "landfall-larger-"));
  cpSync(dist, folder, { recursive: true });
  const [pocket, phone] = ["pocket", "phone"].map((name) => join(folder, "bundles", name)) as [string, string];
  mkdirSync(phone);
  const manifest = JSON.parse(readFileSync(join(pocket, "bundle.json"), "utf8")) as Manifest;
  const [encoder, head] = [manifest.encoder, manifest.head].map((file) => {
    const contents = Buffer.concat([readFileSync(join(pocket, file.file)), DOC_STRING]);
    file.sha256 = createHash("sha256").update(contents).digest("hex");
    return gzipSync(contents, { level: 1 });
  });
  manifest.name = "phone";
  // The page looks for parts of large files only.
  manifest.encoder.bytes = MAX_PART_BYTES + 1;
  writeFileSync(join(phone, "bundle.json"), JSON.stringify(manifest));
  cpSync(join(pocket, "cells.json"), join(phone, "cells.json"));
  writeFileSync(join(phone, "head.onnx"), head!);
  const parts = split(phone, "encoder.onnx", encoder!, PART_BYTES);
  writeFileSync(join(phone, PARTS_FILE), JSON.stringify({ "encoder.onnx": parts }));
  return { folder, parts };
}
