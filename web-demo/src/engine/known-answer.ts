// A known input with a known output, computed once per backend when a bundle is loaded: some drivers and browsers compute
// wrongly without an error. `known-answers.json` has the outputs of all bundles; `known-answers.test.ts` checks and
// writes it.
import answers from "./known-answers.json" with { type: "json" };
import type { Manifest } from "./manifest";

/** The least cosine similarity between the known output and a correct one, which is 0.999 or more on every backend. */
const LEAST_SIMILARITY = 0.99;
/** The logits are compared at this interval. */
const LOGIT_STEP = 16;

/** What the networks of a bundle compute for `knownInput`, up to a factor. */
export interface KnownAnswer {
  embedding: number[];
  logits: number[];
}

/** The key of a bundle's known answer: it changes with the networks only. */
export function knownAnswerKey({ encoder, head }: Manifest): string {
  const files = [encoder, ...(encoder.adapter ? [encoder.adapter] : []), head];
  return files.map(({ sha256 }) => sha256.slice(0, 12)).join("-");
}

/** The known answer of a bundle; `undefined` if it is newer than the page. */
export function knownAnswer(manifest: Manifest): KnownAnswer | undefined {
  return (answers as Record<string, KnownAnswer>)[knownAnswerKey(manifest)];
}

/** An image in the form of an encoder's input: gradients, stripes and a chequerboard. */
export function knownInput(size: number): Float32Array {
  const square = new Float32Array(3 * size ** 2);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const at = y * size + x;
      square[at] = (2 * x) / size - 1;
      square[at + size ** 2] = (x + 2 * y) % 24 < 12 ? 0.75 : -0.75;
      square[at + 2 * size ** 2] = ((x >> 4) + (y >> 4)) % 2 ? 1 - (2 * y) / size : -0.5;
    }
  }
  return square;
}

/** The head's input if all squares of an image are like the known one. */
export function repeated(embedding: Float32Array, squares: number): Float32Array {
  const length = Math.hypot(...embedding) || 1;
  return Float32Array.from({ length: squares * embedding.length }, (_, i) => embedding[i % embedding.length]! / length);
}

/** The logits that are compared. */
export function sampled(logits: Float32Array): Float32Array {
  return logits.filter((_, i) => i % LOGIT_STEP === 0);
}

/** Whether an output is the known one. One that is not known must at least consist of numbers. */
export function isAsKnown(output: Float32Array, known: number[] | undefined): boolean {
  if (!known) return output.every(Number.isFinite) && output.some((value) => value !== 0);
  return output.length === known.length && similarity(output, known) >= LEAST_SIMILARITY;
}

/** Cosine similarity, after the mean has been subtracted. */
export function similarity(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const mean = (of: ArrayLike<number>) => Array.from(of).reduce((sum, value) => sum + value, 0) / of.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  let [product, squaresA, squaresB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]! - meanA, b[i]! - meanB];
    product += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  return product / Math.sqrt(squaresA * squaresB);
}
