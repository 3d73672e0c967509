//! The processes of a soak, which are killed at random and started again.

use std::time::{Duration, Instant};

use kinfolk::{Context, Process, StartMethod, wait};

use kinfolk_testkit::Numbers;

use crate::words::numbers;

/// What a process of a soak returns: what it saw and must not be.
pub(crate) type Verdict = Result<(), String>;

/// The processes of a soak, each in its place.
pub(crate) struct Crew {
    /// The processes.
    processes: Vec<Process<Verdict>>,
    /// Chooses.
    pub(crate) numbers: Numbers,
    /// How many were killed.
    pub(crate) kills: u64,
}

impl Crew {
    /// Starts a process in each of the places.
    pub(crate) fn start(
        places: usize,
        start: impl Fn(usize, &Context) -> Process<Verdict>,
    ) -> Self {
        let seed = std::process::id().into();
        let mut crew = Self { processes: Vec::new(), numbers: numbers(seed), kills: 0 };
        for place in 0..places {
            let context = crew.context();
            crew.processes.push(start(place, &context));
        }
        crew
    }

    /// For this long, kills one after the other, at random moments and places.
    /// `killed` is told before and after, and what it returns takes the place.
    pub(crate) fn kill_for(
        &mut self,
        time: Duration,
        doomed: impl Fn(usize),
        mut killed: impl FnMut(usize, &Context) -> Process<Verdict>,
    ) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let place = self.numbers.below(self.processes.len() as u64) as usize;
            let pause = Duration::from_micros(200 + self.numbers.below(1800));
            self.look_after(place, pause);
            doomed(place);
            self.processes[place].kill().unwrap();
            self.processes[place].wait().unwrap();
            self.kills += 1;
            let context = self.context();
            self.processes[place] = killed(place, &context);
        }
    }

    /// Waits for a time, in which nobody in this place may end.
    pub(crate) fn look_after(&mut self, place: usize, time: Duration) {
        if !wait(&[&self.processes[place]], Some(time)).unwrap().is_empty() {
            panic!("{place} has ended: {:?}", self.processes.swap_remove(place).join());
        }
    }

    /// Kills who is in a place.
    pub(crate) fn kill(&mut self, place: usize) {
        self.processes[place].kill().unwrap();
        self.processes[place].wait().unwrap();
        self.kills += 1;
    }

    /// Puts a process into a place.
    pub(crate) fn put(&mut self, place: usize, process: Process<Verdict>) {
        self.processes[place] = process;
    }

    /// Waits for those in the last places, down to this one, to end by themselves.
    pub(crate) fn dismiss(&mut self, from: usize) {
        for process in self.processes.drain(from..) {
            let verdict = process.join().unwrap();
            assert_eq!(verdict, Ok(()));
        }
    }

    /// Mostly the fast start method, and each of the others at times.
    pub(crate) fn context(&mut self) -> Context {
        Context::new(match self.numbers.below(12) {
            0 => StartMethod::Spawn,
            1 => StartMethod::Fork,
            _ => StartMethod::Forkserver,
        })
    }
}

impl Drop for Crew {
    /// Ends who goes on for ever: the exit of this process would wait for them.
    fn drop(&mut self) {
        for process in &self.processes {
            let _ = process.kill();
        }
    }
}
