//! How much is done: a bar on a terminal, else a plain line now and then.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

/// The time between two plain lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows on stderr how much is done.
pub(crate) struct Progress {
    /// How many files are done.
    done: usize,
    /// How many files there are.
    total: usize,
    /// How that is shown.
    display: Display,
}

/// How progress is shown.
enum Display {
    /// By a bar.
    Bar(ProgressBar),
    /// By lines, the last of which was written then.
    Lines(Instant),
}

impl Progress {
    /// Begins with nothing done of `total` files.
    pub(crate) fn new(total: usize) -> Self {
        let display = if io::stderr().is_terminal() {
            Display::Bar(ProgressBar::new(total as u64))
        } else {
            Display::Lines(Instant::now())
        };
        Self { done: 0, total, display }
    }

    /// One more file is done.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        match &mut self.display {
            Display::Bar(bar) => bar.inc(1),
            Display::Lines(last) if self.done < self.total && last.elapsed() >= PAUSE => {
                *last = Instant::now();
                self.line();
            }
            Display::Lines(_) => {}
        }
    }

    /// All is done: takes the bar away, or writes the last line.
    pub(crate) fn finish(&self) {
        match &self.display {
            Display::Bar(bar) => bar.finish_and_clear(),
            Display::Lines(_) => self.line(),
        }
    }

    /// Writes a plain line.
    fn line(&self) {
        eprintln!("digest: {} of {} files", self.done, self.total);
    }
}
