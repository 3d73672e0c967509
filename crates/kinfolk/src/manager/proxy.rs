//! Proxies: what stands for an object in another process.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::client::Client;
use super::protocol::Request;
use crate::wire::codec;
use crate::{Address, Result};

/// A reference to an object of a manager, of whatever class: what all proxies have inside.
///
/// The object lives as long as one is somewhere. A clone is the same reference; one that
/// travels becomes another of the process that receives it.
#[derive(Clone)]
pub struct Reference {
    /// What is referred to.
    held: Arc<Held>,
}

/// A reference of this process, until it is dropped.
struct Held {
    /// The session whose reference it is.
    client: Arc<Client>,
    /// The object.
    object: u64,
    /// What the proxy's class is like.
    fingerprint: u64,
}

impl Reference {
    /// A reference that the session has.
    pub(super) fn new(client: Arc<Client>, object: u64, fingerprint: u64) -> Self {
        Self { held: Arc::new(Held { client, object, fingerprint }) }
    }

    /// The address of the manager.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.held.client.address()
    }

    /// The object's number: no other object of the manager ever has it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.held.object
    }

    /// Whether two refer to the same object.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let (one, two) = (&self.held, &other.held);
        one.client.server() == two.client.server() && one.object == two.object
    }

    /// The session.
    pub(super) fn client(&self) -> &Arc<Client> {
        &self.held.client
    }

    /// Calls a method of a user's class.
    ///
    /// # Errors
    ///
    /// What the call comes to.
    #[doc(hidden)]
    pub fn call<A: Serialize, R: DeserializeOwned>(&self, method: u32, arguments: &A) -> Result<R> {
        self.held.client.call(self.held.object, method, arguments)
    }

    /// As [`call`](Reference::call), of a ready-made class, whose values are plain.
    pub(super) fn ask<A: Serialize, R: DeserializeOwned>(&self, method: &A) -> Result<R> {
        let Held { client, object, .. } = &*self.held;
        client.ask_with(&Request::Call { object: *object }, method)
    }

    /// As [`ask`](Reference::ask), for what this process holds then, and can let go of.
    pub(super) fn hold<A: Serialize, R: DeserializeOwned>(&self, method: &A) -> Result<R> {
        let Held { client, object, .. } = &*self.held;
        client.ask_to_hold(&Request::Call { object: *object }, method)
    }

    /// Lets go of what [`hold`](Reference::hold) has given, whatever other calls do.
    pub(super) fn let_go<A: Serialize>(&self, method: &A) {
        let Held { client, object, .. } = &*self.held;
        // Without its manager there is nothing to let go of.
        let _ = client.let_go(&Request::Call { object: *object }, method);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.client.release(self.object);
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<object {} of the manager at {}>", self.id(), self.address())
    }
}

/// A reference on its way. There is no key in it: who receives it uses its own.
#[derive(Serialize, Deserialize)]
struct Travelling {
    /// The manager's address, as text.
    address: String,
    /// Which manager it is.
    server: u64,
    /// The object.
    object: u64,
    /// What the proxy's class is like.
    fingerprint: u64,
    /// What keeps the object meanwhile.
    ticket: u64,
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Held { client, object, fingerprint } = &*self.held;
        let ticket = client.ask(&Request::Pass { object: *object }).map_err(|error| {
            let reason = format!("a proxy cannot travel: {error}");
            codec::note(&reason);
            S::Error::custom(reason)
        })?;
        let travelling = Travelling {
            address: client.address().to_string(),
            server: client.server(),
            object: *object,
            fingerprint: *fingerprint,
            ticket,
        };
        travelling.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let travelling = Travelling::deserialize(deserializer)?;
        arrive(&travelling).map_err(|error| {
            let reason = format!("a proxy arrived in vain: {error}");
            codec::note(&reason);
            D::Error::custom(reason)
        })
    }
}

/// Makes a reference of one that has travelled.
fn arrive(travelling: &Travelling) -> Result<Reference> {
    let Travelling { ref address, server, object, fingerprint, ticket } = *travelling;
    let client = Client::at(&address.parse()?)?;
    client.check_server(server)?;
    client.ask::<u64>(&Request::Acquire { object, fingerprint, ticket })?;
    Ok(Reference::new(client, object, fingerprint))
}

/// What every proxy is: [`managed`](crate::managed) makes them of users' classes, others are
/// ready-made.
pub trait Proxy: Sized {
    /// The class of the object.
    const CLASS: &'static str;

    /// A number that differs when names or signatures of the class's methods do.
    #[doc(hidden)]
    const FINGERPRINT: u64;

    /// A proxy of an object of the class.
    #[doc(hidden)]
    fn from_reference(reference: Reference) -> Self;

    /// The reference inside.
    fn reference(&self) -> &Reference;
}

/// Receives a proxy.
#[doc(hidden)]
pub fn deserialize<'de, P: Proxy, D: Deserializer<'de>>(deserializer: D) -> Result<P, D::Error> {
    let reference = Reference::deserialize(deserializer)?;
    if reference.held.fingerprint != P::FINGERPRINT {
        let reason = format!("the proxy that arrived is none of a {}", P::CLASS);
        codec::note(&reason);
        return Err(D::Error::custom(reason));
    }
    Ok(P::from_reference(reference))
}
