//! A queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ready::{Ready, proxy};
use crate::manager::caller::Caller;
use crate::manager::gate::{Gate, Line, Patience, Sleepers};
use crate::manager::object::Call;
use crate::{Error, ErrorKind, Plain, Result};

/// The object.
pub(crate) struct Queue(Arc<Gate<State>>);

/// The items, and who waits.
#[derive(Debug)]
pub(crate) struct State {
    /// The items.
    items: VecDeque<Arc<Plain>>,
    /// The most of them.
    most: usize,
    /// How many were put in and not declared done.
    unfinished: u64,
    /// Who waits for an item.
    getters: Line,
    /// Who waits for room.
    putters: Line,
    /// Who waits until all are done.
    joiners: Sleepers,
}

/// What joiners are told.
const DONE: u8 = 1;

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// To put an item in, within a time; the answer is whether there was room.
    Put(Plain, Option<Duration>),
    /// An item, within a time.
    Get(Option<Duration>),
    /// How many there are.
    Len,
    /// The most of them; 0 for no limit.
    Most,
    /// One that was got is done.
    TaskDone,
    /// To wait until all are done, within a time; the answer is whether they are.
    Join(Option<Duration>),
}

impl Queue {
    /// Puts an item in; `false` if there was no room in time.
    pub(crate) fn put(
        &self,
        caller: &Arc<Caller>,
        item: Plain,
        patience: Patience,
    ) -> Result<bool> {
        let mut item = Some(Arc::new(item));
        let put = |state: &mut State| {
            if state.items.len() >= state.most {
                return None;
            }
            state.items.push_back(item.take()?);
            state.unfinished += 1;
            state.getters.wake();
            Some(())
        };
        Ok(self.0.wait(caller, patience, |state| &mut state.putters, put)?.is_some())
    }

    /// Takes an item; `None` if there was none in time. What its receiver never learns of is
    /// to be [`put_back`](Queue::put_back).
    pub(crate) fn get(
        &self,
        caller: &Arc<Caller>,
        patience: Patience,
    ) -> Result<Option<Arc<Plain>>> {
        let get = |state: &mut State| {
            let item = state.items.pop_front()?;
            state.putters.wake();
            Some(item)
        };
        self.0.wait(caller, patience, |state| &mut state.getters, get)
    }

    /// How an item is put back to its place, before all others.
    pub(crate) fn put_back(&self, item: Arc<Plain>) -> impl FnOnce() + 'static {
        let gate = Arc::clone(&self.0);
        move || {
            let mut state = gate.lock();
            state.items.push_front(item);
            state.getters.wake();
        }
    }

    /// How many items there are.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().items.len()
    }

    /// The most of them; `usize::MAX` for no limit.
    pub(crate) fn most(&self) -> usize {
        self.0.lock().most
    }

    /// Declares one done that was got.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if all are.
    pub(crate) fn task_done(&self) -> Result<()> {
        let mut state = self.0.lock();
        let Some(left) = state.unfinished.checked_sub(1) else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "more items were declared done than were put into the queue",
            ));
        };
        state.unfinished = left;
        if left == 0 {
            state.joiners.tell(usize::MAX, DONE);
        }
        Ok(())
    }

    /// Waits until all are done; `false` if they were not in time.
    pub(crate) fn join(&self, caller: &Arc<Caller>, patience: Patience) -> Result<bool> {
        let mut state = self.0.lock();
        if state.unfinished == 0 {
            return Ok(true);
        }
        let sleeper = state.joiners.enlist();
        let (mut state, told) = self.0.sleep(state, caller, patience, |_| sleeper.told());
        state.joiners.leave(&sleeper);
        Ok(told?.is_some())
    }
}

impl Ready for Queue {
    const CLASS: &'static str = "Queue";
    type Arguments = usize;

    fn make(most: usize) -> Result<Self> {
        let state = State {
            items: VecDeque::new(),
            most: if most == 0 { usize::MAX } else { most },
            unfinished: 0,
            getters: Line::default(),
            putters: Line::default(),
            joiners: Sleepers::default(),
        };
        Ok(Self(Arc::new(Gate::new(state))))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        match call.borrowed::<Ask>()? {
            Ask::Put(item, timeout) => {
                let put = self.put(call.caller(), item, Patience::of(timeout))?;
                call.answer_plainly(&put)
            }
            Ask::Get(timeout) => {
                let item = self.get(call.caller(), Patience::of(timeout))?;
                if let Some(item) = &item {
                    call.undo_by(self.put_back(Arc::clone(item)));
                }
                call.answer_plainly(&item.as_deref())
            }
            Ask::Len => call.answer_plainly(&self.len()),
            Ask::Most => call.answer_plainly(&self.most()),
            Ask::TaskDone => {
                self.task_done()?;
                call.answer_plainly(&())
            }
            Ask::Join(timeout) => {
                let done = self.join(call.caller(), Patience::of(timeout))?;
                call.answer_plainly(&done)
            }
        }
    }
}

proxy! {
    /// A queue in a manager, for processes of any machine: Python's `Queue` and
    /// `JoinableQueue`.
    ///
    /// Each item is got by one. If a process dies while it waits for one, none is lost; an item
    /// that was taken for it goes back to its place unless the answer was sent.
    ///
    /// The items are [`Plain`] there; `T` is how this process sees them. For processes of one
    /// family, [`queue`](crate::queue) is a hundred times faster.
    ///
    /// ```standalone_crate
    /// use kinfolk::manager::QueueProxy;
    /// use kinfolk::{Manager, Process};
    ///
    /// fn work(jobs: QueueProxy<u64>) -> u64 {
    ///     let mut sum = 0;
    ///     while let Some(job) = jobs.try_get().expect("the manager lives") {
    ///         sum += job;
    ///         jobs.task_done().expect("it was got");
    ///     }
    ///     sum
    /// }
    ///
    /// fn main() -> kinfolk::Result<()> {
    ///     let _family = kinfolk::init();
    ///     let manager = Manager::start()?;
    ///     let jobs = manager.queue::<u64>(0)?;
    ///     for job in 1..=4 {
    ///         jobs.put(&job)?;
    ///     }
    ///     let worker = Process::spawn(work, jobs.clone())?;
    ///     jobs.join()?;
    ///     assert_eq!(worker.join()?, 10);
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "JoinableQueue")]
    QueueProxy<T> of Queue
}

impl<T: Serialize + DeserializeOwned> QueueProxy<T> {
    /// Puts an item in. Waits while there is no room; a `get` of another wakes it.
    ///
    /// # Errors
    ///
    /// As all calls: see [`manager`](crate::manager#calls).
    pub fn put(&self, item: &T) -> Result<()> {
        while !self.put_within(item, None)? {}
        Ok(())
    }

    /// Puts an item in if there is room; `false` if there is none.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: &T) -> Result<bool> {
        self.put_within(item, Some(Duration::ZERO))
    }

    /// As [`put`](Self::put), for at most `timeout`; `false` if there was no room.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<bool> {
        self.put_within(item, Some(timeout))
    }

    /// Takes the first item. Waits until there is one; a `put` of another wakes it.
    ///
    /// # Errors
    ///
    /// As all calls. An item that is no `T` is lost, with an error of kind
    /// [`ErrorKind::Deserialize`].
    pub fn get(&self) -> Result<T> {
        loop {
            if let Some(item) = self.get_within(None)? {
                return Ok(item);
            }
        }
    }

    /// Takes the first item if there is one.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<Option<T>> {
        self.get_within(Some(Duration::ZERO))
    }

    /// As [`get`](Self::get), for at most `timeout`; `None` if nothing came.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<T>> {
        self.get_within(Some(timeout))
    }

    /// The number of items, at this moment.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> Result<usize> {
        self.reference.ask(&Ask::Len)
    }

    /// Whether there is no item, at this moment.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether there is no room, at this moment.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "full")]
    pub fn is_full(&self) -> Result<bool> {
        Ok(self.len()? >= self.reference.ask::<_, usize>(&Ask::Most)?)
    }

    /// Declares an item done that was got: for [`join`](Self::join).
    ///
    /// # Errors
    ///
    /// As all calls; [`ErrorKind::InvalidInput`] if all are done.
    pub fn task_done(&self) -> Result<()> {
        self.reference.ask(&Ask::TaskDone)
    }

    /// Waits until all items that were put in are declared done.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn join(&self) -> Result<()> {
        while !self.reference.ask::<_, bool>(&Ask::Join(None))? {}
        Ok(())
    }

    /// As [`join`](Self::join), for at most `timeout`; `false` if they were not done in time.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        self.reference.ask(&Ask::Join(Some(timeout)))
    }

    /// Puts an item in within a time.
    fn put_within(&self, item: &T, timeout: Option<Duration>) -> Result<bool> {
        self.reference.ask(&Ask::Put(Plain::from_value(item)?, timeout))
    }

    /// Takes an item within a time.
    fn get_within(&self, timeout: Option<Duration>) -> Result<Option<T>> {
        let item: Option<Plain> = self.reference.ask(&Ask::Get(timeout))?;
        item.as_ref().map(Plain::to_value).transpose()
    }
}
