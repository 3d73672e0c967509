//! What the library's own tests share: a watchdog, leak checks, a look at other
//! processes through `/proc`, the examples as programs, the Pythons of the machine, and
//! kills at any instruction.

mod acts;
mod example;
mod leaks;
mod look;
mod numbers;
mod python;
#[cfg(target_arch = "x86_64")]
pub mod step;
mod watchdog;

pub use acts::{LONG, SHORT, die, forever, kill, signal};
pub use example::example;
pub use leaks::Leaks;
pub use look::{children_of, cmdline, is_gone, open_fds, wait_until};
pub use numbers::Numbers;
pub use python::{Python, pythons, run_python, start_python};
pub use watchdog::{Watchdog, watchdog, watchdog_after};

/// Makes each function a test for each start method: `name::spawn`,
/// `name::forkserver` and `name::fork`, under a watchdog.
///
/// A fork needs a process with one thread, which a test harness is not: that
/// test runs in a process of its own.
#[macro_export]
macro_rules! for_each_start_method {
    ($( $(#[$attribute:meta])* fn $name:ident($method:ident) $body:block )*) => {$(
        mod $name {
            use super::*;

            $(#[$attribute])*
            fn body($method: kinfolk::StartMethod) $body

            #[test]
            fn spawn() {
                let _watchdog = $crate::watchdog(concat!(stringify!($name), "::spawn"));
                body(kinfolk::StartMethod::Spawn);
            }

            #[test]
            fn forkserver() {
                let _watchdog = $crate::watchdog(concat!(stringify!($name), "::forkserver"));
                body(kinfolk::StartMethod::Forkserver);
            }

            #[test]
            fn fork() {
                let _watchdog = $crate::watchdog(concat!(stringify!($name), "::fork"));
                kinfolk::Context::new(kinfolk::StartMethod::Spawn)
                    .spawn(body, kinfolk::StartMethod::Fork)
                    .expect("the process for the test starts")
                    .join()
                    .expect("the test passes");
            }
        }
    )*};
}

/// Makes each function a test that runs in a process of its own, under a watchdog:
/// for what looks at all that a process has, while other tests run beside it.
#[macro_export]
macro_rules! in_its_own_process {
    ($( $(#[$attribute:meta])* fn $name:ident() $body:block )*) => {$(
        $(#[$attribute])*
        #[test]
        fn $name() {
            fn body((): ()) $body
            let _watchdog = $crate::watchdog(stringify!($name));
            kinfolk::Context::new(kinfolk::StartMethod::Spawn)
                .spawn(body, ())
                .expect("the process for the test starts")
                .join()
                .expect("the test passes");
        }
    )*};
}
