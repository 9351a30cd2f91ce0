// The pocket bundle in onnxruntime-web: the same numbers as ONNX Runtime gives the agent (`model/tests/pocket.rs`).
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { PNG } from "pngjs";
import { expect, it } from "vitest";

const root = new URL("../../", import.meta.url);
const file = (path: string) => readFileSync(new URL(path, root));
const bundle = JSON.parse(file("model/bundles/pocket/bundle.json").toString());
const { size, mean, std } = bundle.preprocess as { size: number; mean: number[]; std: number[] };

/** The floats that a network gives for one input. */
async function run(network: ort.InferenceSession, input: ort.Tensor, name: string): Promise<number[]> {
  const output = await network.run(Object.fromEntries(network.inputNames.map((of) => [of, input])));
  const data = output[name]?.data;
  if (!(data instanceof Float32Array)) throw new Error(`the network has no output ${name}`);
  return [...data];
}

/** One square of the golden picture as the encoder's input, `3 × size × size`. */
function tensor(picture: PNG, square: number): Float32Array {
  const area = size * size;
  return Float32Array.from({ length: 3 * area }, (_, i) => {
    const channel = Math.floor(i / area);
    const value = picture.data[(square * area + (i % area)) * 4 + channel] ?? NaN;
    return (value / 255 - (mean[channel] ?? NaN)) / (std[channel] ?? NaN);
  });
}

it("says of a picture what ONNX Runtime says", { timeout: 60_000 }, async () => {
  ort.env.wasm.numThreads = 1;
  const encoder = await ort.InferenceSession.create(file("model/bundles/pocket/encoder.onnx"));
  const head = await ort.InferenceSession.create(file("model/bundles/pocket/head.onnx"));
  const picture = PNG.sync.read(file("model/tests/golden/pocket.png"));
  const embedding: number[] = [];
  for (let square = 0; square < picture.height / size; square++) {
    const input = new ort.Tensor("float32", tensor(picture, square), [1, 3, size, size]);
    const part = await run(encoder, input, bundle.encoder.output);
    const length = Math.hypot(...part);
    embedding.push(...part.map((x) => x / length));
  }
  const input = new ort.Tensor("float32", Float32Array.from(embedding), [1, embedding.length]);
  const logits = await run(head, input, bundle.head.outputs[0]);
  const highest = Math.max(...logits);
  const all = highest + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - highest), 0));

  const golden: number[] = JSON.parse(file("model/tests/golden/pocket.json").toString());
  expect(logits.length).toBe(golden.length);
  expect(Math.max(...logits.map((z, i) => Math.abs(z - all - (golden[i] ?? NaN))))).toBeLessThan(1e-2);
});
