//! The nearest pictures of a gallery in two steps: the codes of all pictures are compared, and the vectors of those with the
//! most similar codes.

use rayon::prelude::*;

use crate::gallery::Gallery;
use crate::gallery::file::words;

/// Number of pictures up to which all vectors are compared.
const EXACT_ROWS: usize = 1 << 14;
/// Of larger galleries, one vector in 64 is compared.
const CODES_PER_VECTOR: usize = 64;
/// Number of codes that are compared at a time.
const BLOCK_ROWS: usize = 1 << 13;

/// A picture of a gallery, and how similar it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// Index of the picture.
    pub row: usize,
    /// Cosine similarity of the vectors, -1 to 1.
    pub similarity: f64,
}

impl Gallery {
    /// The `k` pictures that are most similar to a vector, most similar first. None if its length is not that of the vectors.
    pub fn nearest(&self, vector: &[f32], k: usize) -> Vec<Match> {
        if vector.len() != self.dim || vector.iter().any(|x| !x.is_finite()) {
            return Vec::new();
        }
        let candidates: Vec<usize> = if self.rows <= EXACT_ROWS {
            (0..self.rows).collect()
        } else {
            self.similar_codes(vector, (self.rows / CODES_PER_VECTOR).max(EXACT_ROWS).max(k))
        };
        let query = Query::new(vector);
        let similarity = |row: usize| {
            let (vector, scale) = self.vector(row);
            Match { row, similarity: query.dot(vector, scale).clamp(-1.0, 1.0) }
        };
        let mut matches: Vec<Match> = candidates.into_par_iter().with_min_len(256).map(similarity).collect();
        matches.sort_unstable_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.row.cmp(&b.row)));
        matches.truncate(k);
        matches
    }

    /// At least `n` pictures: those whose codes differ in the fewest bits from that of a vector.
    fn similar_codes(&self, vector: &[f32], n: usize) -> Vec<usize> {
        let code = code(vector, &self.mean());
        let code_bytes = 8 * words(self.dim);
        let blocks: Vec<Vec<u16>> = self
            .codes()
            .par_chunks(BLOCK_ROWS * code_bytes)
            .map(|block| {
                let differing =
                    |row: &[u8]| row.as_chunks::<8>().0.iter().zip(&code).map(bits_that_differ).sum::<u32>();
                block.chunks_exact(code_bytes).map(|row| differing(row) as u16).collect()
            })
            .collect();
        let mut counts = vec![0usize; 64 * code.len() + 1];
        blocks.iter().flatten().for_each(|differing| counts[usize::from(*differing)] += 1);
        let mut held = 0;
        let limit = counts.iter().position(|count| {
            held += count;
            held >= n
        });
        let limit = limit.unwrap_or(counts.len());
        let rows = blocks.iter().flatten().enumerate();
        rows.filter(|(_, differing)| usize::from(**differing) <= limit).map(|(row, _)| row).collect()
    }
}

fn bits_that_differ((row, code): (&[u8; 8], &u64)) -> u32 {
    (u64::from_le_bytes(*row) ^ code).count_ones()
}

/// The code of a vector: one bit per component, set where it exceeds the mean.
pub(super) fn code(vector: &[f32], mean: &[f32]) -> Vec<u64> {
    let word = |(vector, mean): (&[f32], &[f32])| {
        let bits = vector.iter().zip(mean).enumerate();
        bits.fold(0, |word, (i, (x, mean))| word | (u64::from(x > mean) << i))
    };
    vector.chunks(64).zip(mean.chunks(64)).map(word).collect()
}

/// A vector in integers, whose products are computed fast and in any order.
struct Query {
    components: Vec<i16>,
    scale: f64,
}

/// Number of products that are summed before their sum could exceed 32 bits.
const SUMMED: usize = 256;

impl Query {
    fn new(vector: &[f32]) -> Self {
        let max = vector.iter().fold(0.0f32, |max, x| max.max(x.abs())).max(f32::MIN_POSITIVE);
        let components = vector.iter().map(|x| (x / max * f32::from(i16::MAX)).round() as i16).collect();
        Self { components, scale: f64::from(max) / f64::from(i16::MAX) }
    }

    fn dot(&self, vector: &[u8], scale: f32) -> f64 {
        let block = |(a, b): (&[i16], &[u8])| {
            let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(b.cast_signed()));
            i64::from(products.sum::<i32>())
        };
        let sum: i64 = self.components.chunks(SUMMED).zip(vector.chunks(SUMMED)).map(block).sum();
        sum as f64 * self.scale * f64::from(scale)
    }
}
