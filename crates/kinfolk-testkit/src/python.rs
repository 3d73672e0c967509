//! The Pythons of this machine.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The oldest version that the library speaks to.
const OLDEST: (u32, u32) = (3, 6);

/// One Python of each version from 3.6 on that this machine has: `python3` and
/// `python3.x` of the path, and those of pyenv. If there is none, it says so.
#[must_use]
pub fn pythons() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let home = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".pyenv")));
    if let Some(versions) = home.and_then(|home| home.join("versions").read_dir().ok()) {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let mut found = BTreeMap::new();
    for folder in folders {
        let names = (6..30).map(|minor| format!("python3.{minor}"));
        for name in std::iter::once("python3".to_owned()).chain(names) {
            let program = folder.join(name);
            if !program.is_file() {
                continue;
            }
            let version = version(&program);
            if version.is_some_and(|version| version >= OLDEST) {
                found.entry(version).or_insert(program);
            }
        }
    }
    if found.is_empty() {
        eprintln!("skipped the part with Python: there is none");
    }
    found.into_values().collect()
}

/// Runs a program with a Python, and returns what it printed.
///
/// # Panics
///
/// If the program fails.
#[must_use]
pub fn run_python(python: &Path, program: &str) -> String {
    let output = start(python, program).wait_with_output().expect("Python ends");
    assert!(output.status.success(), "the program fails with {}", python.display());
    String::from_utf8(output.stdout).expect("it prints text")
}

/// Starts a program with a Python; what it prints is to be read from its output. It gets
/// the program by its input, so that a key may stand there.
///
/// # Panics
///
/// If Python does not start.
#[must_use]
pub fn start_python(python: &Path, program: &str) -> Python {
    Python(start(python, program))
}

/// A program of Python's, which is killed when it is dropped: when a test fails.
#[derive(Debug)]
pub struct Python(Child);

impl Deref for Python {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Python {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program.
fn start(python: &Path, program: &str) -> Child {
    let mut child = Command::new(python)
        .args(["-u", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut stdin = child.stdin.take().expect("it has a standard input");
    stdin.write_all(program.as_bytes()).expect("Python reads the program");
    child
}

/// The version of a Python; `None` if it does not run.
fn version(python: &Path) -> Option<(u32, u32)> {
    let tell = "import sys; print('%d %d' % sys.version_info[:2])";
    let output = Command::new(python).args(["-c", tell]).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
