//! Playing scenarios, each time with a kill in another place.

use std::collections::BTreeMap;
use std::time::Duration;

use super::actor::{Actor, is_asleep};
use super::memory::Memory;
use super::notes::{Notes, PEERS, SECOND, SURVIVOR, VICTIM};
use super::scenario::{Scenario, Start};
use super::trace::{self, Next, Stop, Tracee};
use crate::look::{mappings, open_fds};

/// Kills victims, and counts what it does. Its numbers are printed when it is
/// dropped.
///
/// A victim is killed in each *state*: after each instruction that has changed the
/// shared memory to what it was not before, and after each system call that
/// another process may notice; the death of a process leaves nothing else. With
/// `KINFOLK_STEPS=all` in the environment it is also killed after each instruction,
/// or, where these are more than 1,500, after 500 of them.
#[derive(Debug)]
pub struct Proof {
    /// What is proved.
    name: &'static str,
    /// What processes tell each other.
    notes: Notes,
    /// Whether to kill after every instruction.
    every: bool,
    /// What was open at the beginning.
    fds: BTreeMap<u32, String>,
    /// The scenarios so far.
    scenarios: u64,
    /// The states of their victims.
    states: u64,
    /// The kills.
    kills: u64,
    /// The steps.
    steps: u64,
    /// The times from the end of a victim until a survivor had gone on.
    times: Vec<Duration>,
}

/// Where a process is stopped, to be killed there.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// When it has been in so many new states.
    State(u64),
    /// After so many instructions.
    Step(u64),
}

/// How far a process got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// To the place.
    Place,
    /// To a sleep before it.
    Sleep,
    /// To its end before it.
    End,
}

/// The most instructions of what a process does.
const MOST: u64 = 200_000;

/// Up to how many instructions a victim is killed after each of them.
const ALL: u64 = 1500;
/// After how many it is killed where there are more.
const MANY: u64 = 500;

/// Brings a process of a scenario to where it is killed.
type Until<'a, W> = dyn FnMut(&mut Proof, &W, Tracee) -> Result<(Tracee, Reached), String> + 'a;

impl Proof {
    /// Begins a proof. This process must have one thread.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        trace::stay_on_one_processor();
        trace::start_alarm();
        Self {
            name,
            notes: Notes::new(),
            every: std::env::var_os("KINFOLK_STEPS").is_some_and(|steps| steps == "all"),
            fds: open_fds(),
            scenarios: 0,
            states: 0,
            kills: 0,
            steps: 0,
            times: Vec::new(),
        }
    }

    /// Kills the victim in each of its states, and before and after each of its
    /// system calls.
    ///
    /// # Panics
    ///
    /// If anything does not hold then.
    pub fn states<W: 'static>(&mut self, scenario: &Scenario<W>) {
        self.scenarios += 1;
        if let Start::Sleep(_) = scenario.from {
            self.try_kill(scenario, "asleep", &mut |_, _, victim| Ok((victim, Reached::Place)));
        }
        for number in 0.. {
            if self.kill_at(scenario, Place::State(number)) == Reached::End {
                break;
            }
            self.states += 1;
        }
        if self.every {
            self.each_instruction(scenario);
        }
        for number in 1.. {
            let what = format!("border {number} of its system calls");
            let reached = self.try_kill(scenario, &what, &mut |proof, world, victim| {
                proof.begin(scenario, world, &victim)?;
                for _ in 0..number {
                    if victim.to_syscall()? == Stop::Itself {
                        return Ok((victim, Reached::End));
                    }
                }
                Ok((victim, Reached::Place))
            });
            if reached == Reached::End {
                break;
            }
        }
    }

    /// Stops the victim in each of its states, lets the second go on to each of its
    /// own, kills the victim, and lets the second finish. Of the states of each,
    /// only one of `stride` is taken, but of all with `KINFOLK_STEPS=all`.
    ///
    /// # Panics
    ///
    /// If anything does not hold then.
    pub fn pairs<W: 'static>(&mut self, scenario: &Scenario<W>, stride: usize) {
        self.scenarios += 1;
        let stride = if self.every { 1 } else { stride };
        for first in (0..).step_by(stride) {
            let mut first_reached = Reached::Place;
            for other in (first % stride as u64..).step_by(stride) {
                let what = format!("in state {first}, the second in state {other}");
                let mut other_reached = Reached::Place;
                self.try_kill(scenario, &what, &mut |proof, world, victim| {
                    proof.begin(scenario, world, &victim)?;
                    let place = Place::State(first);
                    first_reached = proof.walk(&victim, &mut Memory::new(), place, false)?;
                    let second = proof.second(scenario, world)?;
                    let place = Place::State(other);
                    other_reached = proof.walk(&second, &mut Memory::new(), place, true)?;
                    trace::kill(victim.into_pid());
                    if other_reached != Reached::End {
                        second.finish().map_err(|error| format!("the second: {error}"))?;
                    }
                    Ok((second, Reached::End))
                });
                if other_reached != Reached::Place {
                    break;
                }
            }
            if first_reached == Reached::End {
                break;
            }
            self.states += 1;
        }
    }

    /// Kills the victim in each of its states, and then the second, which takes
    /// over from it, in each of its own: once it has asked the system whether the
    /// victim lives. Of the states of each, only one of `stride` is taken, but of all
    /// with `KINFOLK_STEPS=all`.
    ///
    /// # Panics
    ///
    /// If anything does not hold then.
    pub fn double_deaths<W: 'static>(&mut self, scenario: &Scenario<W>, stride: usize) {
        self.scenarios += 1;
        let stride = if self.every { 1 } else { stride };
        for first in (0..).step_by(stride) {
            let mut first_reached = Reached::Place;
            for other in (first % stride as u64..).step_by(stride) {
                let what = format!("in state {first}, its heir in state {other}");
                let other_reached = self.try_kill(scenario, &what, &mut |proof, world, victim| {
                    proof.begin(scenario, world, &victim)?;
                    let place = Place::State(first);
                    first_reached = proof.walk(&victim, &mut Memory::new(), place, false)?;
                    trace::kill(victim.into_pid());
                    proof.kills += 1;
                    let second = proof.second(scenario, world)?;
                    if !until_asked(&second)? {
                        return Ok((second, Reached::End));
                    }
                    let place = Place::State(other);
                    let reached = proof.walk(&second, &mut Memory::new(), place, true)?;
                    Ok((second, reached))
                });
                if other_reached != Reached::Place {
                    break;
                }
            }
            if first_reached == Reached::End {
                break;
            }
            self.states += 1;
        }
    }

    /// Kills the victim after each of its instructions.
    fn each_instruction<W: 'static>(&mut self, scenario: &Scenario<W>) {
        let before = self.steps;
        self.kill_at(scenario, Place::Step(u64::MAX));
        let length = self.steps - before;
        let stride = if length > ALL { length / MANY } else { 1 };
        for number in (0..=length).step_by(usize::try_from(stride).expect("few steps")) {
            self.kill_at(scenario, Place::Step(number));
        }
    }

    /// Kills the victim in a place.
    fn kill_at<W: 'static>(&mut self, scenario: &Scenario<W>, place: Place) -> Reached {
        self.try_kill(scenario, &format!("{place:?}"), &mut |proof, world, victim| {
            proof.begin(scenario, world, &victim)?;
            let reached = proof.walk(&victim, &mut Memory::new(), place, false)?;
            Ok((victim, reached))
        })
    }

    /// Plays a scenario: to where `until` has brought a process, which is killed
    /// there, and then to its end.
    fn try_kill<W: 'static>(
        &mut self,
        scenario: &Scenario<W>,
        what: &str,
        until: &mut Until<'_, W>,
    ) -> Reached {
        self.play(scenario, until).unwrap_or_else(|error| {
            panic!("{}: {}: killed {what}: {error}", self.name, scenario.name)
        })
    }

    /// As [`try_kill`](Self::try_kill), with an error in words.
    fn play<W: 'static>(
        &mut self,
        scenario: &Scenario<W>,
        until: &mut Until<'_, W>,
    ) -> Result<Reached, String> {
        self.notes.clear(scenario.peers.len());
        let world = (scenario.world)();
        let victim = self.victim(scenario, &world)?;
        let peers = scenario.peers.iter().enumerate().map(|(number, peer)| {
            let me = self.notes.of(PEERS + number);
            let actor = Actor::start(|| {
                peer(&world, &me);
                me.done();
            });
            actor.wait_until_asleep();
            actor
        });
        let peers: Vec<Actor> = peers.collect();
        let (last, reached) = until(self, &world, victim)?;
        self.kills += 1;
        trace::kill(last.into_pid());
        let me = self.notes.of(SURVIVOR);
        me.count_from_now();
        let survivor = Actor::start(|| {
            let before = (open_fds(), mappings());
            (scenario.survivor)(&world, &me);
            me.done();
            assert_eq!((open_fds(), mappings()), before, "the survivor keeps something");
        });
        survivor.finish("survivor")?;
        for peer in peers {
            peer.finish("peer")?;
        }
        self.times.push(me.time());
        Ok(reached)
    }

    /// Starts the victim, up to where it is ready, or sleeps.
    fn victim<W: 'static>(&self, scenario: &Scenario<W>, world: &W) -> Result<Tracee, String> {
        let me = self.notes.of(VICTIM);
        let victim = Tracee::start(|| {
            (scenario.victim)(world, &me);
            me.done();
        })?;
        if let Start::Sleep(_) = scenario.from {
            put_to_sleep(&victim)?;
        }
        Ok(victim)
    }

    /// Lets the victim begin.
    fn begin<W: 'static>(
        &self,
        scenario: &Scenario<W>,
        world: &W,
        victim: &Tracee,
    ) -> Result<(), String> {
        if let Start::Sleep(wake) = scenario.from {
            wake(world, &self.notes.of(SECOND));
            victim.wait()?;
        }
        Ok(())
    }

    /// Starts the second, up to where it begins.
    fn second<W: 'static>(&self, scenario: &Scenario<W>, world: &W) -> Result<Tracee, String> {
        let me = self.notes.of(SECOND);
        let second = Tracee::start(|| {
            me.go();
            (scenario.second)(world, &me);
            me.done();
        });
        second.map_err(|error| format!("the second: {error}"))
    }

    /// Steps a process to a place, its next sleep if that is asked for, or its end.
    fn walk(
        &mut self,
        tracee: &Tracee,
        memory: &mut Memory,
        place: Place,
        to_sleep: bool,
    ) -> Result<Reached, String> {
        let (mut states, mut steps) = (0, 0);
        loop {
            match place {
                Place::State(number) if states == number => return Ok(Reached::Place),
                Place::Step(number) if steps == number => return Ok(Reached::Place),
                Place::State(_) | Place::Step(_) => {}
            }
            let next = tracee.next()?;
            let called = match next {
                Next::Syscall(call) if to_sleep && call.sleeps() => return Ok(Reached::Sleep),
                Next::Syscall(call) => call.is_seen(),
                Next::Copy { .. } | Next::Other => false,
            };
            if tracee.step(next)? == Stop::Itself {
                return Ok(Reached::End);
            }
            steps += 1;
            self.steps += 1;
            if steps > MOST {
                // Who waits may look again and again before it sleeps.
                return if to_sleep { Ok(Reached::Sleep) } else { Err("it never ends".to_owned()) };
            }
            if let Place::State(_) = place {
                states += u64::from(memory.is_new(called));
            }
        }
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert_eq!(open_fds(), self.fds, "the proof keeps something");
        self.times.sort_unstable();
        let time = |at: usize| self.times.get(at).copied().unwrap_or_default();
        eprintln!(
            "{}: {} scenarios, {} states, {} kills, {} steps; survivors went on after {:?}, after \
             {:?} at worst",
            self.name,
            self.scenarios,
            self.states,
            self.kills,
            self.steps,
            time(self.times.len() / 2),
            time(self.times.len().saturating_sub(1)),
        );
    }
}

/// Lets a process run until it sleeps.
fn put_to_sleep(victim: &Tracee) -> Result<(), String> {
    loop {
        if victim.to_syscall()? == Stop::Itself {
            return Err("it never sleeps".to_owned());
        }
        if victim.syscall()?.sleeps() {
            break;
        }
        victim.to_syscall()?;
    }
    victim.let_go()?;
    while !is_asleep(victim.pid()) {
        std::thread::yield_now();
    }
    Ok(())
}

/// Lets a process run until it has asked the system about another one; returns
/// whether it has.
fn until_asked(second: &Tracee) -> Result<bool, String> {
    loop {
        if second.to_syscall()? == Stop::Itself {
            return Ok(false);
        }
        let asked = second.syscall()?.closes();
        second.to_syscall()?;
        if asked {
            return Ok(true);
        }
    }
}
