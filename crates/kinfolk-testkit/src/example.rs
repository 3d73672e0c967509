//! Examples, as programs to run.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The example of this name of the package that is tested, as the test's own profile
/// builds it with these features. `cargo test` has done so before, except when it was
/// told to build one test alone.
///
/// `package` is the test's `CARGO_MANIFEST_DIR`, `scratch` its `CARGO_TARGET_TMPDIR`.
///
/// # Panics
///
/// If the example does not build.
#[must_use]
pub fn example(name: &str, package: &str, scratch: &str, features: &[&str]) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().nth(2).expect("a test is in a profile's folder");
    let profile = folder.file_name().and_then(OsStr::to_str).expect("a profile has a name");
    let target = Path::new(scratch).parent().expect("the folder is in the target folder");
    let program = folder.join("examples").join(name);
    if is_up_to_date(&program).unwrap_or(false) {
        return program;
    }

    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--example", name]);
    build.args(["--profile", if profile == "debug" { "dev" } else { profile }]);
    build.arg("--features").arg(features.join(","));
    build.arg("--target-dir").arg(target).current_dir(package);
    if let Some(triple) = folder.parent().filter(|parent| *parent != target) {
        build.arg("--target").args(triple.file_name());
    }
    assert!(build.status().is_ok_and(|status| status.success()), "{name} does not build");
    program
}

/// Whether a program is newer than all that cargo lists as its sources: then cargo need
/// not be asked, which waits as long as another one builds in the same folder.
fn is_up_to_date(program: &Path) -> io::Result<bool> {
    let built = program.metadata()?.modified()?;
    let list = fs::read_to_string(program.with_extension("d"))?;
    let (_, sources) = list.split_once(": ").unwrap_or_default();
    // A space in a path has a backslash before it.
    for source in sources.replace("\\ ", "\0").split_whitespace() {
        if fs::metadata(source.replace('\0', " "))?.modified()? > built {
            return Ok(false);
        }
    }
    Ok(!sources.is_empty())
}
