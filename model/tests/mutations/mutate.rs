//! Damaged files: deterministic mutations of valid ones, read under a limit on memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Maximum number of bytes in use while a damaged file is read.
const MAX_BYTES: usize = 2_000_000_000;

/// Counts the bytes in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn grow(bytes: usize) {
    let in_use = IN_USE.fetch_add(bytes, Ordering::Relaxed).wrapping_add(bytes);
    PEAK.fetch_max(in_use, Ordering::Relaxed);
}

#[allow(unsafe_code, reason = "an allocator that passes every call on to that of the system")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While the bytes are copied, both blocks exist.
        grow(size);
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Reads `count` mutations of the seeds. `words` are texts with a meaning in the format.
///
/// Panics when `read` panics, or takes more memory than the limit. The number in the message repeats the mutation.
pub(crate) fn check(format: &str, count: u64, seeds: &[Vec<u8>], words: &[&str], read: impl Fn(&[u8])) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    seeds.iter().for_each(|seed| read(seed));
    for number in 0..count {
        let damaged = Mutation(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ format.len() as u64).apply(seeds, words);
        PEAK.store(IN_USE.load(Ordering::Relaxed), Ordering::Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&damaged)));
        let peak = PEAK.load(Ordering::Relaxed);
        let head = String::from_utf8_lossy(&damaged[..damaged.len().min(2_000)]).into_owned();
        assert!(outcome.is_ok(), "{format} {number} panics: {head:?}");
        assert!(peak < MAX_BYTES, "{format} {number} takes {} MB: {head:?}", peak / 1_000_000);
    }
}

/// A random number generator (SplitMix64), seeded with the number of the mutation.
struct Mutation(u64);

impl Mutation {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, or 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }

    fn apply(mut self, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            self.damage(&mut bytes, seeds, words);
        }
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str]) {
        let at = self.below(bytes.len());
        let end = (at + self.below(64) + 1).min(bytes.len());
        match self.below(if words.is_empty() { 7 } else { 10 }) {
            0 => {
                for _ in 0..=self.below(8) {
                    let at = self.below(bytes.len());
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at.min(end)..end)),
            3 => {
                let part = bytes[at.min(end)..end].repeat(1 << self.below(12));
                bytes.splice(at..at, part);
            }
            4 => {
                let other = &seeds[self.below(seeds.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[self.below(other.len())..]);
            }
            5 => bytes[at.min(end)..end].fill_with(|| self.next() as u8),
            6 => self.set_length(bytes, at),
            _ => self.insert_word(bytes, at, words),
        }
    }

    /// Overwrites what may be the length of something with an extreme number.
    fn set_length(&mut self, bytes: &mut [u8], at: usize) {
        let size = [2, 4, 8][self.below(3)];
        let number = [0, 1, 0x7f, 0xffff, 0x7fff_ffff, 0xffff_fffe, u64::MAX >> 1, u64::MAX][self.below(8)];
        let order = self.below(2);
        for (i, byte) in bytes.iter_mut().skip(at).take(size).enumerate() {
            *byte = (number >> (8 * if order == 0 { i } else { size - 1 - i })) as u8;
        }
    }

    /// Inserts a word, or replaces the next number by one.
    fn insert_word(&mut self, bytes: &mut Vec<u8>, at: usize, words: &[&str]) {
        let word = self.pick(words);
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let start = at + bytes[at.min(bytes.len())..].iter().position(is_digit).unwrap_or_default();
        let digits = bytes[start.min(bytes.len())..].iter().take_while(|byte| is_digit(byte)).count();
        let range = if self.below(3) > 0 { start..start + digits } else { at..at };
        let word = word.repeat(if self.below(20) == 0 { 50_000 } else { 1 });
        bytes.splice(range, word.bytes());
    }
}
