//! The machine of the model: processes, their words, their sleep, and the death of
//! one of them.
//!
//! A process is one of loom's threads. One that is killed stops before a step: it
//! unwinds without a further one, for its destructors' steps are none. Some time
//! later, which loom chooses, the machine declares it dead.

use std::cell::{Cell, RefCell};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread::{JoinHandle, Thread};

/// The most words of a scenario.
const WORDS: usize = 64;
/// The most processes: loom has five threads, of which one looks on.
const PROCESSES: usize = loom::MAX_THREADS;
/// How many sleeps of a process end by themselves after a death.
const NAPS: u32 = 2;
/// The most steps of an execution; more is a process that never ends.
const STEPS: usize = 1000;

/// How much is explored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How often a process that could go on is kept waiting, if nobody dies.
    pub(crate) undisturbed: usize,
    /// The same, if somebody dies.
    pub(crate) crashed: usize,
}

impl Bounds {
    /// These, and one more of each in the long form.
    fn preemptions(self, crash: Option<Crash>) -> usize {
        let more = usize::from(std::env::var_os("KINFOLK_MODEL_LONG").is_some());
        more + if crash.is_some() { self.crashed } else { self.undisturbed }
    }
}

/// Explores the orders of a scenario: without a death; and then with the death of
/// each of the `victims` before each of its steps.
pub(crate) fn explore(
    bounds: Bounds,
    victims: RangeInclusive<usize>,
    scenario: impl Fn() + Send + Sync + 'static,
) {
    let scenario = Arc::new(scenario);
    let mut total = run(bounds, None, &scenario).0;
    for process in victims {
        for step in 0.. {
            let (count, died) = run(bounds, Some(Crash { process, step }), &scenario);
            total += count;
            if !died {
                break;
            }
        }
    }
    eprintln!("{total} executions");
}

/// Explores the orders of a scenario. Returns their number, and whether the process
/// died in any.
fn run(
    bounds: Bounds,
    crash: Option<Crash>,
    scenario: &Arc<impl Fn() + Send + Sync + 'static>,
) -> (usize, bool) {
    let count = Arc::new(AtomicUsize::new(0));
    let died = Arc::new(AtomicBool::new(false));
    let mut builder = loom::model::Builder::new();
    builder.max_branches = STEPS;
    builder.preemption_bound = Some(bounds.preemptions(crash));
    let explored = {
        let (scenario, count, died) = (scenario.clone(), count.clone(), died.clone());
        catch_unwind(AssertUnwindSafe(|| {
            builder.check(move || {
                let machine = Rc::new(Machine::new(crash));
                MACHINE.with(|place| *place.borrow_mut() = Some(machine.clone()));
                scenario();
                count.fetch_add(1, Ordering::Relaxed);
                died.fetch_or(machine.stopped.get(), Ordering::Relaxed);
            });
        }))
    };
    let count = count.load(Ordering::Relaxed);
    if let Err(panic) = explored {
        eprintln!("in execution {} with {crash:?}", count + 1);
        resume_unwind(panic);
    }
    (count, died.load(Ordering::Relaxed))
}

/// A process that was started.
pub(crate) struct Process<T>(JoinHandle<Option<T>>);

/// Starts a process. The first one has the number 1: who starts them is 0.
pub(crate) fn start<T: 'static>(function: impl FnOnce() -> T + 'static) -> Process<T> {
    let machine = machine();
    let number = machine.started.get() + 1;
    machine.started.set(number);
    Process(loom::thread::spawn(move || {
        PROCESS.with(|process| process.set(number));
        match catch_unwind(AssertUnwindSafe(function)) {
            Ok(result) => Some(result),
            Err(panic) if panic.is::<Killed>() => {
                machine.declare_dead();
                None
            }
            Err(panic) => resume_unwind(panic),
        }
    }))
}

impl<T> Process<T> {
    /// Waits for its end; `None` if it was killed.
    pub(crate) fn join(self) -> Option<T> {
        self.0.join().expect("a panic ends the model")
    }
}

/// The process that runs.
pub(crate) fn this_process() -> usize {
    PROCESS.with(Cell::get)
}

/// One step of the process that runs, which is killed instead if its time has come.
/// Returns whether it lives: a destructor of a killed one does nothing.
pub(crate) fn step() -> bool {
    let machine = machine();
    let Some(crash) = machine.crash else { return true };
    if this_process() != crash.process {
        return true;
    }
    if machine.stopped.get() {
        return false;
    }
    let step = machine.steps.get();
    machine.steps.set(step + 1);
    if step == crash.step {
        machine.stopped.set(true);
        resume_unwind(Box::new(Killed));
    }
    true
}

/// A word that nobody has used yet.
pub(crate) fn new_word() -> usize {
    let machine = machine();
    let word = machine.used.get();
    assert!(word < WORDS, "a scenario with more than {WORDS} words");
    machine.used.set(word + 1);
    word
}

/// Loads a word.
///
/// Loom knows sequential consistency of fences only. What an access of this order
/// has above the others is that a load does not come before an earlier store: here
/// by a fence between the two.
pub(crate) fn load(word: usize, order: Ordering) -> u64 {
    let machine = machine();
    if order == Ordering::SeqCst && machine.stored_in_order[this_process()].get() {
        fence(Ordering::SeqCst);
    }
    machine.words[word].load(order)
}

/// Stores into a word.
pub(crate) fn store(word: usize, value: u64, order: Ordering) {
    let machine = machine();
    machine.words[word].store(value, order);
    machine.changed_last[this_process()].set(false);
    if order == Ordering::SeqCst {
        machine.stored_in_order[this_process()].set(true);
    }
}

/// Changes a word.
pub(crate) fn change<R>(word: usize, order: Ordering, change: impl FnOnce(&AtomicU64) -> R) -> R {
    let machine = machine();
    let done = change(&machine.words[word]);
    machine.changed_last[this_process()].set(true);
    if order == Ordering::SeqCst {
        machine.stored_in_order[this_process()].set(true);
    }
    done
}

/// A fence.
pub(crate) fn fence(order: Ordering) {
    loom::sync::atomic::fence(order);
    if order == Ordering::SeqCst {
        machine().stored_in_order[this_process()].set(false);
    }
}

/// Keeps the compiler from reordering. Where the last that the process has written
/// was a change of a word, this is a fence: on the processors where the library
/// relies on it, a change is a locked instruction, and a store is not.
pub(crate) fn compiler_fence(order: Ordering) {
    if machine().changed_last[this_process()].get() {
        fence(order);
    }
}

/// Sleeps while a word has `value` in its low half, until woken. If a process has
/// died, the sleep ends by itself, as its limit makes it; but not again and again,
/// for then nobody needs to wake anybody.
pub(crate) fn sleep(word: usize, value: u32) {
    if !step() {
        return;
    }
    let machine = machine();
    let woken = Rc::new(Cell::new(false));
    let mut kernel = machine.kernel.lock().expect("never poisoned");
    let naps = &machine.naps[this_process()];
    if kernel.somebody_died && naps.get() > 0 {
        naps.set(naps.get() - 1);
        drop(kernel);
        loom::thread::yield_now();
        return;
    }
    if machine.words[word].load(Ordering::Relaxed) as u32 != value {
        return;
    }
    let thread = loom::thread::current();
    kernel.sleepers.push(Sleeper { word, thread, woken: woken.clone() });
    drop(kernel);
    while !woken.get() {
        loom::thread::park();
    }
}

/// Wakes at most `count` of those who sleep on a word; returns how many.
pub(crate) fn wake(word: usize, count: usize) -> usize {
    if !step() {
        return 0;
    }
    let machine = machine();
    let mut kernel = machine.kernel.lock().expect("never poisoned");
    let mut left = count;
    kernel.sleepers.retain(|sleeper| {
        let stays = sleeper.word != word || left == 0;
        if !stays {
            left -= 1;
            sleeper.wake();
        }
        stays
    });
    count - left
}

/// Whether a process lives.
pub(crate) fn is_alive(process: usize) -> bool {
    let machine = machine();
    let may_die = machine.crash.is_some_and(|crash| crash.process == process);
    if !may_die || process == this_process() || !step() {
        return true;
    }
    !machine.kernel.lock().expect("never poisoned").somebody_died
}

/// The death of a process.
#[derive(Debug, Clone, Copy)]
struct Crash {
    /// Which.
    process: usize,
    /// Before which of its steps.
    step: usize,
}

/// What unwinds a process that was killed.
struct Killed;

/// Processes and what they share.
struct Machine {
    /// The values of the words that the processes share.
    words: Vec<AtomicU64>,
    /// How many of them have been used.
    used: Cell<usize>,
    /// Who dies, and when.
    crash: Option<Crash>,
    /// How many steps the one who dies has taken.
    steps: Cell<usize>,
    /// Whether it was killed, though perhaps nobody knows.
    stopped: Cell<bool>,
    /// How many processes were started.
    started: Cell<usize>,
    /// Of each process, whether a sequentially consistent store was its last such
    /// access.
    stored_in_order: [Cell<bool>; PROCESSES],
    /// Of each process, whether it has changed a word and stored into none since.
    changed_last: [Cell<bool>; PROCESSES],
    /// Of each process, how many of its sleeps still end by themselves.
    naps: [Cell<u32>; PROCESSES],
    /// What only one changes at a time.
    kernel: Mutex<Kernel>,
}

/// Who sleeps, and who has died.
struct Kernel {
    /// Who sleeps: the longest first.
    sleepers: Vec<Sleeper>,
    /// Whether a process has died.
    somebody_died: bool,
}

/// A process that sleeps.
struct Sleeper {
    /// The word that it sleeps on.
    word: usize,
    /// The thread that it is.
    thread: Thread,
    /// Whether it may go on.
    woken: Rc<Cell<bool>>,
}

thread_local! {
    /// The machine of the execution that runs.
    static MACHINE: RefCell<Option<Rc<Machine>>> = const { RefCell::new(None) };
}

loom::thread_local! {
    /// The number of the process.
    static PROCESS: Cell<usize> = Cell::new(0);
}

/// The machine of the execution that runs.
fn machine() -> Rc<Machine> {
    MACHINE.with(|place| place.borrow().clone()).expect("in a scenario")
}

impl Machine {
    /// Makes a machine whose words are zero.
    fn new(crash: Option<Crash>) -> Self {
        Self {
            words: std::iter::repeat_with(|| AtomicU64::new(0)).take(WORDS).collect(),
            used: Cell::new(0),
            crash,
            steps: Cell::new(0),
            stopped: Cell::new(false),
            started: Cell::new(0),
            stored_in_order: Default::default(),
            changed_last: Default::default(),
            naps: std::array::from_fn(|_| Cell::new(NAPS)),
            kernel: Mutex::new(Kernel { sleepers: Vec::new(), somebody_died: false }),
        }
    }

    /// Lets everybody know of a death, and ends all sleeps.
    fn declare_dead(&self) {
        let mut kernel = self.kernel.lock().expect("never poisoned");
        kernel.somebody_died = true;
        for sleeper in kernel.sleepers.drain(..) {
            sleeper.wake();
        }
    }
}

impl Sleeper {
    /// Ends its sleep.
    fn wake(&self) {
        self.woken.set(true);
        self.thread.unpark();
    }
}
