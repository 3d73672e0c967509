//! The objects of a server, and who refers to them.
//!
//! An object lives as long as somebody refers to it: a client, by its session; a name; a
//! ticket. A ticket is the reference of a proxy that travels: it begins when the proxy is
//! serialised, in whatever process, and ends [`TRANSIT`] after it was last deserialised, or after
//! the end of the client that serialised it. So a message that waits in a queue for hours
//! keeps its object while its sender lives, a killed sender's last message can still be
//! received, and nothing stays for ever.

#[cfg(feature = "pickle")]
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::caller::Session;
use super::object::{Object, caught};
use super::protocol::{Hello, SessionKey};
use super::random::random;
use super::statistics::Statistics;
use crate::{Error, ErrorKind, Result};

/// How long an object is kept for proxies that travel, once nothing else tells that they do.
pub(super) const TRANSIT: Duration = Duration::from_secs(60);

/// The longest name of an object, in bytes.
const LONGEST_NAME: usize = 256;

/// The objects, and all that refers to them.
pub(super) struct Table {
    /// The most objects, and as many names and tickets.
    most: usize,
    /// What calls look at.
    objects: RwLock<HashMap<u64, Entry>>,
    /// What refers to the objects. Locked before these.
    referrers: Mutex<Referrers>,
}

/// An object.
struct Entry {
    /// Itself.
    object: Arc<dyn Object>,
    /// How many refer to it.
    references: u64,
}

/// What refers to objects.
#[derive(Default)]
struct Referrers {
    /// The clients.
    sessions: HashMap<u64, Client>,
    /// The names.
    names: HashMap<String, u64>,
    /// The tickets.
    tickets: HashMap<u64, Ticket>,
    /// How often clients of Python refer to which objects: of all together, for they do not
    /// say who they are.
    #[cfg(feature = "pickle")]
    foreign: BTreeMap<u64, u64>,
    /// How many numbers were given out: none is given twice.
    numbers: u64,
}

/// A client.
struct Client {
    /// What its connections share.
    session: Arc<Session>,
    /// What only it knows.
    secret: [u8; 16],
    /// The number of its connections.
    connections: usize,
    /// How often it refers to which objects.
    references: HashMap<u64, u64>,
}

/// The reference of a proxy that travels.
struct Ticket {
    /// The object.
    object: u64,
    /// The client that serialised it.
    session: u64,
    /// When it ends, if that is known.
    end: Option<Instant>,
}

/// Objects that nobody refers to any more. They are dropped when nothing is locked: their
/// destructors are their own.
#[derive(Default)]
#[must_use]
pub(super) struct Dropped(Vec<Arc<dyn Object>>);

impl Dropped {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With these as well.
    pub(super) fn and(mut self, mut others: Self) -> Self {
        self.0.append(&mut others.0);
        self
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        for object in self.0.drain(..) {
            // A panic of a destructor is its own too.
            let _ = caught(|| drop(object));
        }
    }
}

impl Table {
    /// An empty table, for at most so many objects.
    pub(super) fn new(most: usize) -> Self {
        Self { most, objects: RwLock::default(), referrers: Mutex::default() }
    }

    /// Lets a connection in: to the session that it names, or to a new one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such session: all its connections were lost.
    pub(super) fn join(&self, hello: Hello) -> Result<(Arc<Session>, SessionKey)> {
        let mut referrers = self.lock();
        if let Some(key) = hello.session {
            let client = referrers.sessions.get_mut(&key.number);
            let client = client.filter(|client| {
                let equal = subtle::ConstantTimeEq::ct_eq(&client.secret[..], &key.secret[..]);
                bool::from(equal)
            });
            let Some(client) = client else {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    "all connections to the manager were lost, and with them this process's \
                     references to its objects: connect anew",
                ));
            };
            client.connections += 1;
            return Ok((Arc::clone(&client.session), key));
        }
        let secret = random()?;
        let number = referrers.number();
        let session = Arc::new(Session::new(number, hello.pid, hello.name));
        let client = Client {
            session: Arc::clone(&session),
            secret,
            connections: 1,
            references: HashMap::new(),
        };
        referrers.sessions.insert(number, client);
        Ok((session, SessionKey { number, secret }))
    }

    /// A connection has ended; with the last one the client and all its references.
    pub(super) fn leave(&self, session: &Session) -> Dropped {
        let mut referrers = self.lock();
        let Some(client) = referrers.sessions.get_mut(&session.number) else {
            return Dropped::default();
        };
        client.connections -= 1;
        if client.connections > 0 {
            return Dropped::default();
        }
        let gone = referrers.sessions.remove(&session.number);
        let end = Instant::now() + TRANSIT;
        for ticket in referrers.tickets.values_mut() {
            if ticket.session == session.number {
                ticket.end.get_or_insert(end);
            }
        }
        // Locks first: another may wait for them.
        session.give_up();
        let references = gone.map(|client| client.references).unwrap_or_default();
        self.forget(references)
    }

    /// An object.
    pub(super) fn object(&self, number: u64) -> Result<Arc<dyn Object>> {
        let objects = self.objects();
        objects.get(&number).map(|entry| Arc::clone(&entry.object)).ok_or_else(no_object)
    }

    /// Takes a new object in, to which the client refers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if there are too many.
    pub(super) fn insert(&self, session: &Session, object: Arc<dyn Object>) -> Result<u64> {
        // Refused, it is dropped when nothing is locked.
        let _kept = Dropped(vec![Arc::clone(&object)]);
        let mut referrers = self.lock();
        referrers.check(session)?;
        let number = self.place(&mut referrers, object)?;
        referrers.refer(session, number);
        Ok(number)
    }

    /// Takes a new object in, to which a name refers.
    ///
    /// # Errors
    ///
    /// As [`insert`](Table::insert) and [`register`](Table::register).
    pub(super) fn insert_named(&self, name: &str, object: Arc<dyn Object>) -> Result<()> {
        let _kept = Dropped(vec![Arc::clone(&object)]);
        let mut referrers = self.lock();
        self.check_name(&referrers, name)?;
        let number = self.place(&mut referrers, object)?;
        referrers.names.insert(name.to_owned(), number);
        Ok(())
    }

    /// Makes a place for an object, with one reference.
    fn place(&self, referrers: &mut Referrers, object: Arc<dyn Object>) -> Result<u64> {
        let mut objects = self.objects_mut();
        if objects.len() >= self.most {
            return Err(self.exhausted("objects"));
        }
        let number = referrers.number();
        objects.insert(number, Entry { object, references: 1 });
        Ok(number)
    }

    /// Has a client refer to an object, which came with a ticket.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if it is gone; [`ErrorKind::InvalidInput`] if it is of another
    /// class.
    pub(super) fn acquire(
        &self,
        session: &Session,
        number: u64,
        fingerprint: u64,
        ticket: u64,
    ) -> Result<()> {
        let mut referrers = self.lock();
        referrers.check(session)?;
        self.refer(number, fingerprint)?;
        referrers.refer(session, number);
        if let Some(ticket) = referrers.tickets.get_mut(&ticket)
            && ticket.object == number
        {
            ticket.end = Some(Instant::now() + TRANSIT);
        }
        Ok(())
    }

    /// Has a client refer to the object of a name.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Table::acquire).
    pub(super) fn get(&self, session: &Session, name: &str, fingerprint: u64) -> Result<u64> {
        let mut referrers = self.lock();
        referrers.check(session)?;
        let Some(&number) = referrers.names.get(name) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the manager has no object of the name `{name}`"),
            ));
        };
        self.refer(number, fingerprint)?;
        referrers.refer(session, number);
        Ok(number)
    }

    /// Counts one reference more, of a proxy of this fingerprint.
    fn refer(&self, number: u64, fingerprint: u64) -> Result<()> {
        let mut objects = self.objects_mut();
        let entry = objects.get_mut(&number).ok_or_else(no_object)?;
        if entry.object.fingerprint() != fingerprint {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the object is a {} of the manager's program, which is of another class than \
                     the proxy, or of another version",
                    entry.object.class()
                ),
            ));
        }
        entry.references += 1;
        Ok(())
    }

    /// Takes a new object in, to which a client of Python refers.
    ///
    /// # Errors
    ///
    /// As [`insert`](Table::insert).
    #[cfg(feature = "pickle")]
    pub(super) fn insert_foreign(&self, object: Arc<dyn Object>) -> Result<u64> {
        // Refused, it is dropped when nothing is locked.
        let _kept = Dropped(vec![Arc::clone(&object)]);
        let mut referrers = self.lock();
        let number = self.place(&mut referrers, object)?;
        referrers.foreign.insert(number, 1);
        Ok(number)
    }

    /// Has a client of Python refer to the object of a name, if there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if it is gone.
    #[cfg(feature = "pickle")]
    pub(super) fn get_foreign(&self, name: &str) -> Result<Option<u64>> {
        let number = self.lock().names.get(name).copied();
        number.map(|number| self.refer_foreign(number).map(|()| number)).transpose()
    }

    /// Has a client of Python refer to an object.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if it is gone.
    #[cfg(feature = "pickle")]
    pub(super) fn refer_foreign(&self, number: u64) -> Result<()> {
        let mut referrers = self.lock();
        self.objects_mut().get_mut(&number).ok_or_else(no_object)?.references += 1;
        *referrers.foreign.entry(number).or_default() += 1;
        Ok(())
    }

    /// Ends a reference of a client of Python.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if they have none to it.
    #[cfg(feature = "pickle")]
    pub(super) fn release_foreign(&self, number: u64) -> Result<()> {
        let mut referrers = self.lock();
        let count = referrers.foreign.get_mut(&number).ok_or_else(no_object)?;
        *count -= 1;
        if *count == 0 {
            referrers.foreign.remove(&number);
        }
        let dropped = self.forget([(number, 1)]);
        drop(referrers);
        drop(dropped);
        Ok(())
    }

    /// The objects to which clients of Python refer, and how often.
    #[cfg(feature = "pickle")]
    pub(super) fn foreign(&self) -> Vec<(u64, u64)> {
        self.lock().foreign.iter().map(|(number, count)| (*number, *count)).collect()
    }

    /// Ends references of a client. Those that it has not are passed over.
    pub(super) fn release(&self, session: &Session, numbers: &[u64]) {
        let mut referrers = self.lock();
        let Some(client) = referrers.sessions.get_mut(&session.number) else { return };
        let mut released = HashMap::new();
        for number in numbers {
            if let Place::Occupied(mut count) = client.references.entry(*number) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
                *released.entry(*number).or_default() += 1;
            }
        }
        let dropped = self.forget(released);
        drop(referrers);
        drop(dropped);
    }

    /// Gives out a ticket for a proxy of an object that begins to travel.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if the object is gone, [`ErrorKind::Exhausted`] if too many
    /// travel.
    pub(super) fn pass(&self, session: &Session, number: u64) -> Result<u64> {
        let mut referrers = self.lock();
        referrers.check(session)?;
        if referrers.tickets.len() >= self.most {
            return Err(self.exhausted("proxies under way that nobody has received"));
        }
        self.objects_mut().get_mut(&number).ok_or_else(no_object)?.references += 1;
        let ticket = referrers.number();
        let travels = Ticket { object: number, session: session.number, end: None };
        referrers.tickets.insert(ticket, travels);
        Ok(ticket)
    }

    /// Gives an object a name, which refers to it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] if another object has it.
    pub(super) fn register(&self, name: &str, number: u64) -> Result<()> {
        let mut referrers = self.lock();
        self.check_name(&referrers, name)?;
        self.objects_mut().get_mut(&number).ok_or_else(no_object)?.references += 1;
        referrers.names.insert(name.to_owned(), number);
        Ok(())
    }

    /// Checks that an object may get a name.
    fn check_name(&self, referrers: &Referrers, name: &str) -> Result<()> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the name of an object has 1 to {LONGEST_NAME} bytes"),
            ));
        }
        if referrers.names.contains_key(name) {
            return Err(Error::new(
                ErrorKind::InUse,
                format!("the manager has an object of the name `{name}` already"),
            ));
        }
        if referrers.names.len() >= self.most {
            return Err(self.exhausted("names"));
        }
        Ok(())
    }

    /// Takes a name back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is none.
    pub(super) fn unregister(&self, name: &str) -> Result<()> {
        let mut referrers = self.lock();
        let Some(number) = referrers.names.remove(name) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the manager has no object of the name `{name}`"),
            ));
        };
        let dropped = self.forget([(number, 1)]);
        drop(referrers);
        drop(dropped);
        Ok(())
    }

    /// Ends the tickets whose time has come.
    pub(super) fn tidy(&self, now: Instant) -> Dropped {
        let mut referrers = self.lock();
        let mut released = HashMap::new();
        referrers.tickets.retain(|_, ticket| {
            let over = ticket.end.is_some_and(|end| end <= now);
            if over {
                *released.entry(ticket.object).or_default() += 1;
            }
            !over
        });
        self.forget(released)
    }

    /// Drops all objects: the server has ended.
    pub(super) fn clear(&self) {
        let objects = std::mem::take(&mut *self.objects_mut());
        drop(Dropped(objects.into_values().map(|entry| entry.object).collect()));
    }

    /// How much there is.
    pub(super) fn statistics(&self) -> Statistics {
        let referrers = self.lock();
        Statistics {
            objects: self.objects().len(),
            names: referrers.names.len(),
            clients: referrers.sessions.len(),
            connections: referrers.sessions.values().map(|client| client.connections).sum(),
            travelling: referrers.tickets.len(),
            calls: 0,
        }
    }

    /// Counts references less, so many of each object; the objects that had no more.
    fn forget(&self, references: impl IntoIterator<Item = (u64, u64)>) -> Dropped {
        let mut objects = self.objects_mut();
        let mut dropped = Vec::new();
        for (number, count) in references {
            let Place::Occupied(mut entry) = objects.entry(number) else { continue };
            entry.get_mut().references -= count;
            if entry.get().references == 0 {
                dropped.push(entry.remove().object);
            }
        }
        Dropped(dropped)
    }

    /// Too many of something.
    fn exhausted(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Exhausted,
            format!(
                "the manager has {} {what}, the most it may have: drop some, or raise the limit \
                 by `ManagerBuilder::max_objects`",
                self.most
            ),
        )
    }

    /// Locks what refers to objects. Nothing panics while it is locked.
    fn lock(&self) -> MutexGuard<'_, Referrers> {
        self.referrers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the objects for a look.
    fn objects(&self) -> RwLockReadGuard<'_, HashMap<u64, Entry>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the objects for a change.
    fn objects_mut(&self) -> RwLockWriteGuard<'_, HashMap<u64, Entry>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Referrers {
    /// A number that was not given out yet; never 0.
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Checks that a client is still there: else nobody would end what it is given.
    fn check(&self, session: &Session) -> Result<()> {
        if self.sessions.contains_key(&session.number) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Disconnected, "the client is gone"))
    }

    /// Counts a client's reference, which the object has counted.
    fn refer(&mut self, session: &Session, number: u64) {
        if let Some(client) = self.sessions.get_mut(&session.number) {
            *client.references.entry(number).or_default() += 1;
        }
    }
}

/// An object that there is not.
fn no_object() -> Error {
    Error::new(ErrorKind::NotFound, "the object is gone: nobody has referred to it any more")
}

#[cfg(test)]
mod tests;
