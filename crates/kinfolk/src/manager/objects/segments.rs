//! Shared memory with names that a manager takes back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::ready::{Ready, proxy};
use crate::manager::object::Call;
use crate::manager::random::random;
use crate::{Error, ErrorKind, ListItem, Result, ShareableList, SharedMemory};

/// What the names begin with.
const BEGINNING: &str = "kinfolk-manager-";

/// The object: segments by their names, which are taken back with it.
pub(crate) struct Segments(Mutex<BTreeMap<String, SharedMemory>>);

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// A segment of so many bytes; the answer is its name.
    Make(usize),
    /// To take the name of another's segment back, with all others.
    Track(String),
    /// To take a name back now.
    Release(String),
    /// The names.
    Names,
}

impl Segments {
    /// Makes a segment.
    pub(crate) fn make_one(&self, size: usize) -> Result<String> {
        let name = new_name()?;
        let memory = SharedMemory::create(&name, size)?;
        self.lock().insert(name.clone(), memory);
        Ok(name)
    }

    /// Takes the name of a segment of another over.
    pub(crate) fn track(&self, name: String) -> Result<()> {
        let memory = SharedMemory::attach(&name)?;
        self.lock().insert(name, memory);
        Ok(())
    }

    /// Takes a name back.
    pub(crate) fn release(&self, name: &str) -> Result<()> {
        match self.lock().remove(name) {
            Some(memory) => memory.unlink(),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("the manager has no shared memory of the name `{name}`"),
            )),
        }
    }

    /// The names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Locks the segments.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, SharedMemory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that nobody has.
fn new_name() -> Result<String> {
    Ok(format!("{BEGINNING}{:016x}", u64::from_ne_bytes(random()?)))
}

/// Takes back names that managers have left which were killed.
pub(in crate::manager) fn take_left_back() {
    SharedMemory::unlink_left(BEGINNING);
}

impl Drop for Segments {
    fn drop(&mut self) {
        for memory in self.lock().values() {
            // It may be gone already, by another's hand.
            let _ = memory.unlink();
        }
    }
}

impl Ready for Segments {
    const CLASS: &'static str = "SharedMemory";
    type Arguments = ();

    fn make((): ()) -> Result<Self> {
        take_left_back();
        Ok(Self(Mutex::default()))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        match call.borrowed::<Ask>()? {
            Ask::Make(size) => {
                let name = self.make_one(size)?;
                call.answer_plainly(&name)
            }
            Ask::Track(name) => {
                self.track(name)?;
                call.answer_plainly(&())
            }
            Ask::Release(name) => {
                self.release(&name)?;
                call.answer_plainly(&())
            }
            Ask::Names => call.answer_plainly(&self.names()),
        }
    }
}

proxy! {
    /// Shared memory with names, which is taken back when this object ends: with its last proxy,
    /// or its manager.
    ///
    /// Python's processes attach it by name, and others of this machine. A manager that is killed
    /// cannot take names back: the process that started it does, when it ends or shuts it down,
    /// and if that is killed too, the next manager of this user that makes shared memory.
    ///
    /// ```standalone_crate
    /// fn main() -> kinfolk::Result<()> {
    ///     let _family = kinfolk::init();
    ///     let manager = kinfolk::Manager::start()?;
    ///     let segments = manager.segments()?;
    ///     let memory = segments.shared_memory(4096)?;
    ///     memory.write(0, b"seen by all who attach it by name")?;
    ///     let name = memory.name().unwrap().to_owned();
    ///     manager.shutdown()?;
    ///     assert!(kinfolk::SharedMemory::attach(&name).is_err());
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "SharedMemoryManager")]
    SegmentsProxy of Segments
}

impl SegmentsProxy {
    /// Makes shared memory of so many bytes, with a name that this object takes back.
    ///
    /// # Errors
    ///
    /// As all calls: see [`manager`](crate::manager#calls), and as [`SharedMemory::create`].
    pub fn shared_memory(&self, size: usize) -> Result<SharedMemory> {
        SharedMemory::attach(&self.reference.ask::<_, String>(&Ask::Make(size))?)
    }

    /// Makes a list in shared memory, with a name that this object takes back.
    ///
    /// # Errors
    ///
    /// As all calls, and as [`ShareableList::create`].
    pub fn shareable_list(&self, items: &[ListItem]) -> Result<ShareableList> {
        let list = ShareableList::create(&new_name()?, items)?;
        if let Some(name) = list.memory().name() {
            self.track(name)?;
        }
        Ok(list)
    }

    /// Takes the name of shared memory over that somebody else has made, to take it back with
    /// the others.
    ///
    /// # Errors
    ///
    /// As all calls, and as [`SharedMemory::attach`].
    #[doc(alias = "track_segment")]
    pub fn track(&self, name: &str) -> Result<()> {
        self.reference.ask(&Ask::Track(name.to_owned()))
    }

    /// Takes a name back now. The memory itself goes with its last user.
    ///
    /// # Errors
    ///
    /// As all calls; [`ErrorKind::NotFound`] if it is none of this object's.
    #[doc(alias = "release_segment")]
    pub fn release(&self, name: &str) -> Result<()> {
        self.reference.ask(&Ask::Release(name.to_owned()))
    }

    /// The names.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "list_segments")]
    pub fn names(&self) -> Result<Vec<String>> {
        self.reference.ask(&Ask::Names)
    }
}
