//! What may be paid for requests that cost, and what was: noted before each is sent, so that no kill forgets one.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::http::FetchError;

/// A byte for each request that was paid for.
const LEDGER: &str = "paid.txt";

/// The budget of one folder of pictures.
pub(super) struct Budget {
    price_usd: f64,
    limit_usd: f64,
    /// The folder's note, and how many requests stand in it.
    paid: Mutex<(Option<File>, usize)>,
}

impl Budget {
    /// What a request costs, and all that were ever sent for a folder may, in US dollars.
    pub(super) fn new(price_usd: f64, limit_usd: f64) -> Self {
        Self { price_usd, limit_usd, paid: Mutex::new((None, 0)) }
    }

    /// Reads what was paid for a folder, to add to it.
    ///
    /// # Errors
    /// When its note cannot be read or written.
    pub(super) fn open(&self, dir: &Path) -> Result<()> {
        let file = dir.join(LEDGER);
        let open = OpenOptions::new().create(true).append(true).open(&file);
        let open = open.and_then(|file| file.metadata().map(|metadata| (file, metadata.len())));
        let (open, paid) = open.with_context(|| format!("cannot write {}", file.display()))?;
        *self.paid.lock().unwrap_or_else(PoisonError::into_inner) = (Some(open), paid as usize);
        Ok(())
    }

    /// Whether this number of further requests is within the budget.
    pub(super) fn allows(&self, more: usize) -> bool {
        self.is_within_limit(self.paid.lock().unwrap_or_else(PoisonError::into_inner).1 + more)
    }

    fn is_within_limit(&self, requests: usize) -> bool {
        // Prices are not whole in binary: a thousandth of a request is nobody's.
        (requests as f64 - 1e-3) * self.price_usd <= self.limit_usd
    }

    /// Pays for a request that is about to be sent.
    ///
    /// # Errors
    /// When there is not enough left, or it cannot be noted: it must not be sent then.
    pub(super) fn charge(&self) -> Result<(), FetchError> {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_within_limit(paid.1 + 1) {
            return Err(FetchError::Permanent(self.exhausted_message()));
        }
        let Some(file) = &mut paid.0 else { return Err(FetchError::Permanent(format!("{LEDGER} is not open"))) };
        file.write_all(b".").map_err(|e| FetchError::Permanent(format!("cannot write {LEDGER}: {e}")))?;
        paid.1 += 1;
        Ok(())
    }

    /// What a request costs, in US dollars.
    pub(super) fn price_usd(&self) -> f64 {
        self.price_usd
    }

    /// What was paid, in US dollars.
    pub(super) fn spent_usd(&self) -> f64 {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner).1 as f64 * self.price_usd
    }

    /// What to say when there is not enough left.
    pub(super) fn exhausted_message(&self) -> String {
        format!("the next picture would cost more than --max-cost {}, which this folder has used up", self.limit_usd)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${:.2} of ${:.2}", self.spent_usd(), self.limit_usd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_never_exceeded_across_runs() {
        let dir = tempfile::tempdir().unwrap();
        // 0.021 / 0.007 is not quite 3.
        for (paid_before, pays) in [(0, 3), (3, 0)] {
            let budget = Budget::new(0.007, 0.021);
            budget.open(dir.path()).unwrap();
            assert!(budget.allows(3 - paid_before));
            assert!(!budget.allows(4 - paid_before));
            assert_eq!((0..10).filter(|_| budget.charge().is_ok()).count(), pays);
            assert_eq!(budget.to_string(), "$0.02 of $0.02");
        }
    }
}
