//! Compression of networks with gzip.
//!
//! Coarse int8 weights hold no repetitions, only values of which some are more frequent, and the search for repetitions
//! makes such data larger by a sixth. So each block is compressed with and without it, and the smaller result is kept.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use miniz_oxide::deflate::core::{
    CompressionStrategy, CompressorOxide, TDEFLFlush, TDEFLStatus, compress as deflate,
    create_comp_flags_from_zip_params,
};

/// Bytes of a block: small enough for the frequencies of values to follow the data, large enough that the table of codes,
/// about 60 bytes, does not matter.
const BLOCK: usize = 48 << 10;
/// Header of a file without a name or a time (RFC 1952, section 2.3.1).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
const LEVEL: i32 = 9;
/// DEFLATE data without a zlib header.
const RAW: i32 = -15;

/// A gzip file with these contents. Its size depends on the version of the compressor, its contents do not.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let blocks: Vec<&[u8]> = bytes.chunks(BLOCK).collect();
    let compressed = Mutex::new(vec![Vec::new(); blocks.len()]);
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(blocks.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((i, block)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, blocks.get(i)?)))
                {
                    let strategies = [CompressionStrategy::HuffmanOnly, CompressionStrategy::Default];
                    let best =
                        strategies.map(|strategy| compress_block(block, strategy)).into_iter().min_by_key(Vec::len);
                    compressed.lock().unwrap_or_else(|e| e.into_inner())[i] = best.unwrap_or_default();
                }
            });
        }
    });
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    let mut file = HEADER.to_vec();
    compressed.into_inner().unwrap_or_else(|e| e.into_inner()).iter().for_each(|block| file.extend_from_slice(block));
    file.extend([0x03, 0x00]); // an empty last block
    file.extend(crc.sum().to_le_bytes());
    file.extend((bytes.len() as u32).to_le_bytes()); // modulo 2^32, as the format has it
    file
}

/// DEFLATE data of one block, which ends at a full byte and is not the last.
fn compress_block(block: &[u8], strategy: CompressionStrategy) -> Vec<u8> {
    let flags = create_comp_flags_from_zip_params(LEVEL, RAW, strategy as i32);
    let mut compressor = CompressorOxide::new(flags);
    let mut out = vec![0; block.len() + (block.len() >> 3) + 256];
    let (mut read, mut written) = (0, 0);
    loop {
        let (status, taken, given) = deflate(&mut compressor, &block[read..], &mut out[written..], TDEFLFlush::Sync);
        (read, written) = (read + taken, written + given);
        debug_assert!(matches!(status, TDEFLStatus::Okay | TDEFLStatus::Done), "the arguments are valid");
        if written < out.len() {
            out.truncate(written);
            return out; // all input was taken, or there would be no room
        }
        out.resize(2 * out.len(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_was_compressed_is_restored() {
        let mut state = 1u32;
        let mut noise = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let coarse: Vec<u8> = (0..200_000).map(|_| (noise() & noise() & 7).wrapping_sub(2)).collect();
        let random: Vec<u8> = (0..100_000).map(|_| noise()).collect();
        let text = b"the same words ".repeat(20_000);
        let all = [coarse.as_slice(), &random, &text].concat();
        for bytes in [&b""[..], b"a", &coarse, &random, &text, &all, &all[..BLOCK], &all[..=BLOCK]] {
            let file = compress(bytes);
            let mut restored = Vec::new();
            flate2::read::GzDecoder::new(file.as_slice()).read_to_end(&mut restored).unwrap();
            assert!(restored == bytes, "{} bytes", bytes.len());
        }
        assert!(compress(&text).len() < text.len() / 100);
        assert!(compress(&random).len() < random.len() + random.len() / 100);
    }
}
