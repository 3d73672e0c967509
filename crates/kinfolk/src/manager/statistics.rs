//! How much a manager has.

use serde::{Deserialize, Serialize};

/// How much a manager has, at one moment: see [`Manager::statistics`](super::Manager::statistics).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Statistics {
    /// The objects.
    #[doc(alias = "number_of_objects")]
    pub objects: usize,
    /// The names of objects.
    pub names: usize,
    /// The processes with a connection to it, its own starter included.
    pub clients: usize,
    /// Their connections.
    pub connections: usize,
    /// The calls of objects' methods that are under way, those that wait included.
    pub calls: usize,
    /// The proxies that were serialised and are, as far as it knows, under way.
    pub travelling: usize,
}
