//! Who hands records over, and when: threads that wait for the pool, one at a time,
//! while they hold none of its locks, for a subscriber may do anything.

use std::thread::{self, ThreadId};
use std::time::Instant;

use super::retell::Records;
use crate::pool::core::Core;

/// What a pool knows of records.
#[derive(Debug, Default)]
pub(in crate::pool) struct Desk {
    /// Those of workers that have ended.
    pub(in crate::pool) left: Vec<Records>,
    /// Who hands records over.
    teller: Option<ThreadId>,
    /// How many threads wait to hand over all that there are.
    pub(in crate::pool) waiting: usize,
}

impl Desk {
    /// Whether nobody hands records over, or is about to: so they are to be waited for.
    pub(in crate::pool) fn is_free(&self) -> bool {
        self.teller.is_none() && self.waiting == 0
    }

    /// Whether another thread hands records over.
    pub(in crate::pool) fn is_busy(&self) -> bool {
        self.teller.is_some_and(|teller| teller != thread::current().id())
    }
}

/// The records of all workers, in the hands of one thread.
pub(in crate::pool) struct Round {
    /// By the number of the worker, unless it has ended.
    sources: Vec<(Option<u64>, Records)>,
}

impl Round {
    /// Takes the records of a pool, if there are any and nobody else has them.
    pub(in crate::pool) fn begin(core: &mut Core) -> Option<Self> {
        let nothing = |records: &Records| records.len() == 0;
        let idle = core.lanes.iter().filter_map(|lane| lane.records.as_ref()).all(nothing);
        if core.desk.teller.is_some() || (idle && core.desk.left.is_empty()) {
            return None;
        }
        core.desk.teller = Some(thread::current().id());
        let mut sources: Vec<_> = core.desk.left.drain(..).map(|records| (None, records)).collect();
        for lane in &mut core.lanes {
            sources.extend(lane.records.take().map(|records| (Some(lane.number), records)));
        }
        Some(Self { sources })
    }

    /// Hands over what there is at this moment, in turn one of each worker, or as much
    /// of it as can be until then.
    pub(in crate::pool) fn run(&mut self, until: Option<Instant>) {
        let mut left: Vec<usize> = self.sources.iter().map(|(_, records)| records.len()).collect();
        while left.iter().any(|left| *left > 0) {
            for ((_, records), left) in self.sources.iter_mut().zip(&mut left) {
                if *left > 0 {
                    *left = if records.hand_over() { *left - 1 } else { 0 };
                }
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                break;
            }
        }
        // The spans of a worker that has ended are closed when all is told.
        let mut left = left.into_iter();
        self.sources.retain(|(lane, _)| left.next() > Some(0) || lane.is_some());
    }

    /// Gives the records back.
    pub(in crate::pool) fn end(self, core: &mut Core) {
        core.desk.teller = None;
        for (number, records) in self.sources {
            let lane = core.lanes.iter_mut().find(|lane| Some(lane.number) == number);
            match lane {
                Some(lane) => lane.records = Some(records),
                None => core.desk.left.push(records),
            }
        }
    }
}
