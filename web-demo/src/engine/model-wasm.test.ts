// The model crate in WebAssembly must give the same encoder inputs and predictions as the native build (`model/tests`).
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { PNG } from "pngjs";
import { expect, it } from "vitest";
import { WasmModel, InvalidInputError } from "./model-wasm";

const root = new URL("../../../", import.meta.url);
const file = (path: string) => new Uint8Array(readFileSync(new URL(path, root)));
const bundle = JSON.parse(new TextDecoder().decode(file("model/bundles/pocket/bundle.json")));
const rome = "fixtures/rounds/rome-colosseum/view_000.jpg";

/** A model with the pocket bundle open, optionally with a different preprocessing configuration. */
async function openPocket(preprocess: object = bundle.preprocess) {
  const model = new WasmModel(await WebAssembly.compile(file("web-demo/src/engine/landfall.wasm")));
  const manifest = new TextEncoder().encode(JSON.stringify({ ...bundle, preprocess }));
  return { model, info: model.open(manifest, file("model/bundles/pocket/cells.json")) };
}

it("preprocesses a photo to the golden squares", async () => {
  const { model, info } = await openPocket();
  const goldenPredictions = PNG.sync.read(readFileSync(new URL("model/tests/golden/pocket.png", root)));
  const tensors = model.preprocessFile(file(rome)).squares;
  const area = info.size ** 2;
  expect(tensors.length).toBe(info.squares * 3 * area);
  const { mean, std } = bundle.preprocess;
  const maxError = tensors.reduce((most, x, i) => {
    const [square, channel, pixel] = [Math.floor(i / (3 * area)), Math.floor(i / area) % 3, i % area];
    const value = goldenPredictions.data[(square * area + pixel) * 4 + channel] ?? NaN;
    return Math.max(most, Math.abs(x - (value / 255 - mean[channel]) / std[channel]));
  }, 0);
  expect(maxError).toBeLessThan(1e-3);
});

it("resizes to the same bytes as on every platform", async () => {
  // With mean 0 and std 1/255 the output values are 0 to 255.
  const std = [1 / 255, 1 / 255, 1 / 255];
  const { model, info } = await openPocket({ size: 224, resize: "bicubic", crop: "center", mean: [0, 0, 0], std });
  const source = new TextDecoder().decode(file("model/tests/integration/preprocess.rs"));
  const known = [...source.matchAll(/\("(\w+)", "([0-9a-f]{64})"\)/g)];
  expect(known.length).toBe(3);
  for (const [, name, sha256] of known) {
    const planes = model.preprocessFile(file(`model/tests/golden/${name}.png`)).squares;
    const area = info.size ** 2;
    const value = (i: number) => Math.round(planes[(i % 3) * area + Math.floor(i / 3)] ?? NaN);
    const bytes = Uint8Array.from({ length: 3 * area }, (_, i) => value(i));
    expect(createHash("sha256").update(bytes).digest("hex"), name).toBe(sha256);
  }
});

it("reads the position of a photo as the programs do", async () => {
  const { model } = await openPocket();
  const photo = (position: string) => {
    const rdf = `xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:e="http://ns.adobe.com/exif/1.0/"`;
    const packet = `http://ns.adobe.com/xap/1.0/\0<r:RDF ${rdf}><r:Description ${position}/></r:RDF>`;
    const length = packet.length + 2;
    const bytes = new TextEncoder().encode(packet);
    return Uint8Array.from([0xff, 0xd8, 0xff, 0xe1, length >> 8, length & 255, ...bytes, 0xff, 0xd9]);
  };
  expect(model.position(photo(`e:GPSLatitude="33,51.6S" e:GPSLongitude="151,15E"`))).toEqual({ lat: -33.86, lng: 151.25 });
  expect(model.position(photo(`e:GPSLatitude="0,0N" e:GPSLongitude="0,0E"`))).toBe(null);
  expect([model.position(photo("")), model.position(new Uint8Array())]).toEqual([null, null]);
});

it("predicts the same as native ONNX Runtime", { timeout: 180_000 }, async () => {
  const { model, info } = await openPocket();
  ort.env.wasm.numThreads = 1;
  const encoder = await ort.InferenceSession.create(
    model.encoder(file("model/bundles/pocket/encoder.onnx"), undefined, true),
  );
  const head = await ort.InferenceSession.create(file("model/bundles/pocket/head.onnx"));
  const run = async (network: ort.InferenceSession, data: Float32Array, dims: number[], output: string) => {
    const outputs = await network.run({ [network.inputNames[0] ?? ""]: new ort.Tensor("float32", data, dims) });
    return outputs[output]?.data as Float32Array;
  };
  const { squares } = model.preprocessFile(file(rome));
  const length = squares.length / info.squares;
  const parts: number[] = [];
  for (let at = 0; at < squares.length; at += length) {
    parts.push(...(await run(encoder, squares.subarray(at, at + length), [1, 3, info.size, info.size], info.output)));
  }
  const embedding = model.embedding(Float32Array.from(parts));
  const logits = await run(head, embedding, [1, embedding.length], info.logits);
  const highest = Math.max(...logits);
  const all = highest + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - highest), 0));
  const goldenPredictions: number[] = JSON.parse(new TextDecoder().decode(file("model/tests/golden/pocket.json")));
  expect(logits.length).toBe(goldenPredictions.length);
  expect(Math.max(...goldenPredictions.map((log, i) => Math.abs((logits[i] ?? NaN) - all - log)))).toBeLessThan(1e-2);

  const prediction = model.predict(logits);
  expect(prediction).toMatchObject({
    country: "IT",
    place: "near Rome, Italy",
    views: 1,
    bundle: `pocket@${bundle.version}`,
  });
  // Two equal views give the same prediction as one; four make it sharper.
  expect(model.predict(Float32Array.from([...logits, ...logits]))).toEqual({ ...prediction, views: 2 });
  const four = model.predict(Float32Array.from([...logits, ...logits, ...logits, ...logits]));
  expect(four.cells[0]!.p).toBeGreaterThan(prediction.cells[0]!.p);
});

it("returns cells inside their outlines and credible regions of the stated probability", async () => {
  const { model, info } = await openPocket();
  const logits = Float32Array.from({ length: info.cells }, (_, i) => ((i * 7919) % 1000) / 100);
  const { cells, region50, region90, countries, radiusKm } = model.predict(logits);
  const held = (region: number[]) => region.reduce((sum, i) => sum + cells[i]!.p, 0);
  expect(held(region50)).toBeGreaterThanOrEqual(0.5);
  expect(held(region50.slice(0, -1))).toBeLessThan(0.5);
  expect(held(region90)).toBeGreaterThanOrEqual(0.9);
  expect(radiusKm.p50).toBeLessThan(radiusKm.p90);
  expect(cells.every((cell, i) => cell.p >= 1e-4 && cell.p <= (cells[i - 1]?.p ?? 1))).toBe(true);
  expect(countries.map(({ p }) => p)).toEqual(countries.map(({ p }) => p).sort((a, b) => b - a));
  for (const { ring, lng, level } of cells.filter(({ level }) => level >= 3)) {
    const east = ring.map(([x]) => x);
    // A cell with a corner at a pole spans 90 degrees.
    expect(Math.max(...east) - Math.min(...east), `level ${level}`).toBeLessThan(90 + 1e-9);
    const near = [lng - 360, lng, lng + 360].some((x) => x > Math.min(...east) - 2 && x < Math.max(...east) + 2);
    expect(near).toBe(true);
  }
});

it("scores guesses with the score formula of the game", async () => {
  const { model } = await openPocket();
  expect(model.score(48.8566, 2.3522, 48.8566, 2.3522, 14_916_862)).toEqual({ points: 5000, distanceKm: 0 });
  // A round played on the live game (`model/src/score.rs`).
  const scored = model.score(36.10273273061744, 9.614501211547099, 36.752925872802734, 10.175555229187012, 14_916_862);
  expect(scored.points).toBe(4714);
  expect(scored.distanceKm).toBeCloseTo(88.0149282160789, 6);
  expect(() => model.score(91, 0, 0, 0, 1)).toThrow(InvalidInputError);
});

it("rejects invalid input and stays usable", async () => {
  const { model, info } = await openPocket();
  const cut = file(rome).subarray(0, 90);
  for (const call of [
    () => model.preprocessFile(cut),
    () => model.dimensions(new Uint8Array(9)),
    () => model.predict(new Float32Array(3)),
    () => model.predict(new Float32Array(info.cells), "holiday" as never),
    () => model.predict(new Float32Array(info.cells).fill(NaN)),
    () => model.preprocessPixels(new Uint8Array(8), 2, 2),
    () => model.encoder(new Uint8Array([1, 2, 3]), new Uint8Array(3), true),
  ]) {
    expect(call).toThrow(InvalidInputError);
  }
  expect(model.dimensions(file(rome))).toHaveLength(2);
  expect(model.preprocessFile(file(rome)).squares.length).toBeGreaterThan(0);
});

it("computes SHA-256", async () => {
  const { model } = await openPocket();
  const bytes = file("model/bundles/pocket/encoder.onnx");
  expect(model.sha256(bytes)).toBe(bundle.encoder.sha256);
  // FIPS 180-2, appendix B.1: the state was reset after the file above.
  expect(model.sha256(new TextEncoder().encode("abc"))).toBe(
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});
