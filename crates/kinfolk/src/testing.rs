//! What a user's own tests need.

/// Makes `#[test]` functions able to start processes: one line, at the top
/// level of a test file, under `cargo test` and nextest alike.
///
/// A test harness has no `main` of yours to put [`init`](crate::init) into, so
/// this line runs it before `main`, in the test binary only. At the end of the
/// tests, children are ended or joined as at any exit.
///
/// ```
/// kinfolk::test_init!();
///
/// #[test]
/// fn doubles() {
///     let process = kinfolk::Process::spawn(|n: u32| 2 * n, 21).unwrap();
///     assert_eq!(process.join().unwrap(), 42);
/// }
/// ```
#[allow(clippy::test_attr_in_doctest)] // Its place in a test file is the point.
#[macro_export]
macro_rules! test_init {
    () => {
        const _: () = {
            #[used]
            #[unsafe(link_section = ".init_array")]
            static INIT: extern "C" fn() = $crate::init_for_tests;
        };
    };
}
