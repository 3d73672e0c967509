//! Misuse that does not compile, and what the compiler says about it.

/// Each program in `compile_fail/` fails, for the reason in the file beside it.
///
/// The words are the compiler's and change with it: with another one than that
/// which the files were made with, this test says that it is skipped.
#[test]
fn misuse_does_not_compile() {
    let version = std::process::Command::new("rustc").arg("--version").output().unwrap().stdout;
    if !String::from_utf8_lossy(&version).starts_with("rustc 1.95.") {
        eprintln!("skipped: the expected messages are those of rustc 1.95");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
