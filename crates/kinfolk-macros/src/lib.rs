//! The attribute of kinfolk that makes typed proxies: `kinfolk::managed` documents it.

mod check;
mod expand;
mod method;

use proc_macro::TokenStream;

/// Makes the type of an `impl` block one that a manager can own, and the proxy of it.
///
/// For `impl Counter` it makes `CounterProxy`, which has the methods of the block, each on
/// `&self` and with a [`kinfolk::Result`](Result) of what the method returns: it calls the
/// object in the manager's process and waits for the answer. The functions of the block are
/// left as they are.
///
/// * `pub fn new(…) -> Self`, or `-> Result<Self, E>` where `E` is `Display`, makes the objects
///   that clients ask for. Without it only the server's own program can give it objects.
/// * A method takes `&self` or `&mut self`. Those with `&self` run at the same time as others,
///   those with `&mut self` alone: each object is behind an `RwLock`.
/// * Arguments and results are values that serde can carry. An argument may also be `&T`,
///   `&str` or `&[T]`: it travels as a value, and is lent to the method. A proxy is a value too.
///   Types are named: `Self`, which is another type in the proxy, is for the result of `new`.
///
/// ```ignore
/// #[kinfolk::managed]
/// impl Counter {
///     pub fn new(start: u64) -> Self {
///         Self { value: start }
///     }
///
///     pub fn add(&mut self, n: u64) -> u64 {
///         self.value += n;
///         self.value
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn managed(arguments: TokenStream, block: TokenStream) -> TokenStream {
    expand::managed(arguments.into(), block.into())
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
