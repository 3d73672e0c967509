//! What must not compile, and what the compiler says then.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler whose words stand in the `.stderr` files. Another one words
/// them differently: with it, only that the programs do not compile is checked.
const WORDED_BY: &str = "rustc 1.95.";

#[test]
fn misuse_does_not_compile() {
    let programs = if compiler().starts_with(WORDED_BY) { here() } else { without_words() };
    let cases = trybuild::TestCases::new();
    cases.compile_fail(programs.join("*.rs"));
}

/// Where the programs are: relative to the package, as tests run there.
fn here() -> PathBuf {
    "tests/compile_fail".into()
}

/// A copy of the programs without what the compiler should say of them.
fn without_words() -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_fail");
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(here()).unwrap() {
        let program = entry.unwrap().path();
        if program.extension().is_some_and(|extension| extension == "rs") {
            std::fs::copy(&program, copy.join(program.file_name().unwrap())).unwrap();
        }
    }
    // SAFETY: this test is the only one of its process, whose main thread waits.
    unsafe { std::env::set_var("TRYBUILD", "overwrite") };
    copy
}

/// The compiler's name and version.
fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
