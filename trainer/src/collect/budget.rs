//! Budget for paid requests. Each request is recorded before it is sent, so that a killed process cannot lose one.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::http::FetchError;
use super::manifest::open_for_appending;

/// Ledger file with one byte per paid request.
const LEDGER: &str = "paid.txt";

/// The budget of one folder of images.
pub(super) struct Budget {
    price_usd: f64,
    limit_usd: f64,
    /// The open ledger file and the number of requests in it.
    paid: Mutex<(Option<File>, usize)>,
}

impl Budget {
    /// Creates a budget from the price of one request and the limit for all requests of a folder, in US dollars.
    pub(super) fn new(price_usd: f64, limit_usd: f64) -> Self {
        Self { price_usd, limit_usd, paid: Mutex::new((None, 0)) }
    }

    /// Opens the ledger of a folder.
    ///
    /// # Errors
    /// If the ledger cannot be read or written.
    pub(super) fn open(&self, dir: &Path) -> Result<()> {
        let file = dir.join(LEDGER);
        let open = open_for_appending(&file)?;
        let paid = open.metadata().with_context(|| format!("cannot read {}", file.display()))?.len();
        *self.paid.lock().unwrap_or_else(PoisonError::into_inner) = (Some(open), paid as usize);
        Ok(())
    }

    /// Returns whether `more` further requests are within the budget.
    pub(super) fn allows(&self, more: usize) -> bool {
        self.is_within_limit(self.paid.lock().unwrap_or_else(PoisonError::into_inner).1 + more)
    }

    fn is_within_limit(&self, requests: usize) -> bool {
        // Tolerates rounding errors: 0.021 / 0.007 is slightly less than 3.
        (requests as f64 - 1e-3) * self.price_usd <= self.limit_usd
    }

    /// Records a request that is about to be sent.
    ///
    /// # Errors
    /// If the budget is exhausted or the ledger cannot be written. The request must not be sent then.
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

    /// Price of a request in US dollars.
    pub(super) fn price_usd(&self) -> f64 {
        self.price_usd
    }

    /// Amount spent so far in US dollars.
    pub(super) fn spent_usd(&self) -> f64 {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner).1 as f64 * self.price_usd
    }

    /// The error message for an exhausted budget.
    pub(super) fn exhausted_message(&self) -> String {
        format!("the budget of this directory is used up: the next image would exceed --max-cost {}", self.limit_usd)
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
        // 0.021 / 0.007 is slightly less than 3.
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
