//! How far a map has come, as its user is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is called with how many items are done, and of how many, if that is known.
pub(super) type Report = Arc<dyn Fn(u64, Option<u64>) + Send + Sync>;

/// How far a map has come, as far as that was told.
#[derive(Default)]
pub(super) struct Progress {
    /// What is told.
    report: Option<Report>,
    /// How many items it was told of, and one more; 0 before it was told anything.
    told: AtomicU64,
}

impl Progress {
    /// Nothing is told yet.
    pub(super) fn new(report: Option<Report>) -> Self {
        Self { report, told: AtomicU64::new(0) }
    }

    /// Whether there is news if so many items are done.
    pub(super) fn is_behind(&self, done: u64) -> bool {
        self.report.is_some() && self.told.load(Ordering::Relaxed) <= done
    }

    /// Tells that so many items are done, unless that is known. The pool's state must
    /// not be locked: what is called may use the pool.
    pub(super) fn tell(&self, done: u64, total: Option<u64>) {
        let Some(report) = &self.report else { return };
        if self.told.fetch_max(done + 1, Ordering::Relaxed) <= done {
            report(done, total);
        }
    }
}

/// Shows on a bar what is told. It is finished when all is done, as its style says.
#[cfg(feature = "indicatif")]
pub(super) fn on_bar(bar: &indicatif::ProgressBar) -> Report {
    let bar = bar.clone();
    Arc::new(move |done, total| {
        if let Some(total) = total
            && bar.length() != Some(total)
        {
            bar.set_length(total);
        }
        bar.set_position(done);
        if total == Some(done) {
            bar.finish_using_style();
        }
    })
}
