//! The example `digest`, beside `sha256sum`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use kinfolk_testkit::{Numbers, watchdog};

/// The size of the file that takes long.
const LARGE: usize = 20_000_000;

/// Names that a program may stumble on, in a tree and in a line of output.
const ODD_NAMES: [&[u8]; 20] = [
    b"plain",
    b" blanks  around ",
    b"back\\slash",
    b"ends with \\",
    b"line\nend",
    b"\\n is no line end, \n is",
    b"\n",
    b"tab\there",
    b"quotes ' \" `",
    b"*?[!a]{b,c}$(d)",
    b"-",
    b"--chaos",
    b".hidden",
    "\u{fc}n\u{ef}c\u{f6}d\u{e9}".as_bytes(),
    b"not UTF-8 \xff\xfe\x80",
    b"a",
    b"a.b",
    b"folder.after",
    b"folder/inner/file",
    b"folder/non-UTF-8 \xc3/back\\slash/line\nend/x",
];

/// A folder of files, removed at the end.
struct Tree {
    /// The folder in which the program runs; the tree is `tree` in it.
    place: PathBuf,
    /// The files that can be read, as paths from there.
    files: Vec<OsString>,
}

impl Tree {
    /// An empty tree for the test `name`.
    fn new(name: &str) -> Self {
        let name = format!("digest-{name}-{}", std::process::id());
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(place.join("tree")).unwrap();
        Self { place, files: Vec::new() }
    }

    /// A tree with odd names, an empty file, a large one, and what is no file.
    fn odd(name: &str) -> Self {
        let mut tree = Self::new(name);
        for (name, size) in
            ODD_NAMES.iter().zip([1, 55, 56, 64, 1000, 131_072, 131_073].iter().cycle())
        {
            tree.add(OsStr::from_bytes(name), *size);
        }
        tree.add(OsStr::new("empty"), 0);
        tree.add(OsStr::new("large"), LARGE);
        tree.add(OsStr::from_bytes(&[b'n'; 255]), 3);
        for number in 0..300 {
            tree.add(OsStr::new(&format!("many/{number}")), number);
        }
        if escapes_carriage_return() {
            tree.add(OsStr::new("carriage\rreturn"), 7);
        }
        let root = tree.place.join("tree");
        symlink("large", root.join("link to a file")).unwrap();
        symlink("..", root.join("folder/link to a folder")).unwrap();
        symlink("nowhere", root.join("dangling link")).unwrap();
        let fifo = Command::new("mkfifo").arg(root.join("fifo")).status();
        assert!(fifo.unwrap().success());
        tree
    }

    /// Adds a file of `size` bytes.
    fn add(&mut self, name: &OsStr, size: usize) {
        let path = Path::new("tree").join(name);
        write(&self.place.join(&path), size);
        self.files.push(path.into());
        self.files.sort();
    }

    /// What `sha256sum` says of the files; `None`, with a word why, without it.
    fn sums(&self) -> Option<Vec<u8>> {
        let mut command = Command::new("sha256sum");
        match command.arg("--").args(&self.files).current_dir(&self.place).output() {
            Ok(output) => {
                assert!(output.status.success(), "{output:?}");
                Some(output.stdout)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!("skipped: there is no sha256sum to compare with");
                None
            }
            Err(error) => panic!("sha256sum: {error}"),
        }
    }

    /// Runs the example on the tree.
    fn digest(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.args(arguments).arg("tree").current_dir(&self.place).output().unwrap()
    }

    /// Whether `sha256sum --check` accepts `sums`.
    fn accepts(&self, sums: &[u8]) -> bool {
        let mut command = Command::new("sha256sum");
        command.args(["--check", "--strict", "--quiet"]).current_dir(&self.place);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(sums).unwrap();
        child.wait().unwrap().success()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// Writes a file of `size` bytes that do not repeat soon, and its folders.
fn write(path: &Path, size: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut numbers = Numbers::new(size as u64 | 1 << 32);
    let bytes = std::iter::repeat_with(|| numbers.word().to_le_bytes());
    let bytes: Vec<u8> = bytes.flatten().take(size).collect();
    fs::write(path, bytes).unwrap();
}

/// Whether the installed `sha256sum` escapes carriage returns: before coreutils
/// 9.0 it did not.
fn escapes_carriage_return() -> bool {
    let tree = Tree::new("carriage-return");
    let name = "carriage\rreturn";
    fs::write(tree.place.join(name), "").unwrap();
    let output = Command::new("sha256sum").arg(name).current_dir(&tree.place).output();
    output.is_ok_and(|output| output.stdout.starts_with(b"\\"))
}

/// The example, built as this test is.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let features = [
            ("indicatif", cfg!(feature = "indicatif")),
            ("tokio", cfg!(feature = "tokio")),
            ("tracing", cfg!(feature = "tracing")),
        ];
        let features: Vec<&str> =
            features.into_iter().filter_map(|(name, on)| on.then_some(name)).collect();
        let (package, scratch) = (env!("CARGO_MANIFEST_DIR"), env!("CARGO_TARGET_TMPDIR"));
        kinfolk_testkit::example("digest", package, scratch, &features)
    })
}

/// The number of workers that chaos killed.
fn killed(stderr: &str) -> usize {
    let line =
        stderr.lines().find_map(|line| line.strip_prefix("digest: killed and replaced workers: "));
    line.unwrap_or_else(|| panic!("no number of killed workers in: {stderr}")).parse().unwrap()
}

/// Compares bytes, and shows them as text if they differ.
#[track_caller]
fn assert_same(found: &[u8], expected: &[u8]) {
    assert!(
        found == expected,
        "found:\n{}\nexpected:\n{}",
        found.escape_ascii(),
        expected.escape_ascii()
    );
}

#[test]
fn output_is_that_of_sha256sum_and_passes_its_check() {
    let _watchdog = watchdog("output_is_that_of_sha256sum_and_passes_its_check");
    let tree = Tree::odd("plain");
    let Some(expected) = tree.sums() else { return };
    for arguments in [&[][..], &["--jobs", "1"], &["--jobs", "7"]] {
        let output = tree.digest(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert_same(&output.stdout, &expected);
        let count = tree.files.len();
        assert_eq!(stderr.lines().last(), Some(&*format!("digest: {count} of {count} files")));
        assert!(tree.accepts(&output.stdout));
    }
}

#[test]
fn chaos_changes_no_byte_and_a_lone_worker_gets_done() {
    let _watchdog = watchdog("chaos_changes_no_byte_and_a_lone_worker_gets_done");
    let tree = Tree::odd("chaos");
    let Some(expected) = tree.sums() else { return };
    for jobs in ["1", "2", "5"] {
        let output = tree.digest(&["--chaos", "--jobs", jobs]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert_same(&output.stdout, &expected);
        assert!(killed(&stderr) > 0, "{stderr}");
    }
}

/// Adds a folder whose path is just short enough for the system. What is in it
/// under a long name cannot be opened, not even by root. It comes about by moving
/// one deep folder into another.
fn add_deep_folder(tree: &Tree, in_it: &[&str]) -> PathBuf {
    let deep: PathBuf = std::iter::repeat_n("d".repeat(200), 10).collect();
    let moved = tree.place.join("moved");
    for name in in_it {
        write(&moved.join(&deep).join(name), 30);
    }
    let outer = Path::new("tree").join(&deep);
    fs::create_dir_all(tree.place.join(&outer)).unwrap();
    fs::rename(&moved, tree.place.join(&outer).join("moved")).unwrap();
    outer.join("moved").join(&deep)
}

/// Runs the example, with chaos and without, on a tree in which `unreadable` is
/// unreadable and all of `tree.files` is not.
fn assert_reported(tree: &Tree, unreadable: &Path, code: i32) {
    let expected = tree.sums();
    let report = format!("digest: {unreadable:?}: {}", io::Error::from_raw_os_error(code));
    for arguments in [&[][..], &["--chaos", "--jobs", "2"]] {
        let output = tree.digest(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(stderr.lines().filter(|line| *line == report).count(), 1, "{stderr}");
        match &expected {
            Some(expected) => assert_same(&output.stdout, expected),
            None => {
                let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(lines, tree.files.len());
            }
        }
    }
}

#[test]
fn an_unreadable_file_is_reported_and_the_rest_done() {
    let _watchdog = watchdog("an_unreadable_file_is_reported_and_the_rest_done");
    let mut tree = Tree::new("unreadable-file");
    tree.add(OsStr::new("readable"), 10);
    tree.add(OsStr::new("zzz/readable"), 20);
    let long = "f".repeat(200);
    let folder = add_deep_folder(&tree, &["short", &long]);
    tree.files.push(folder.join("short").into());
    tree.files.sort();
    assert_reported(&tree, &folder.join(long), libc::ENAMETOOLONG);
}

#[test]
fn an_unreadable_folder_is_reported_and_the_rest_done() {
    let _watchdog = watchdog("an_unreadable_folder_is_reported_and_the_rest_done");
    let mut tree = Tree::new("unreadable-folder");
    tree.add(OsStr::new("readable"), 10);
    let long = "g".repeat(200);
    let folder = add_deep_folder(&tree, &["short", &format!("{long}/never seen")]);
    tree.files.push(folder.join("short").into());
    tree.files.sort();
    assert_reported(&tree, &folder.join(long), libc::ENAMETOOLONG);
}

#[test]
fn a_forbidden_file_is_reported_and_the_rest_done() {
    let _watchdog = watchdog("a_forbidden_file_is_reported_and_the_rest_done");
    let mut tree = Tree::new("forbidden");
    tree.add(OsStr::new("readable"), 10);
    let forbidden = Path::new("tree/forbidden");
    write(&tree.place.join(forbidden), 60);
    fs::set_permissions(tree.place.join(forbidden), fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(tree.place.join(forbidden)).is_ok() {
        eprintln!("skipped: nothing is forbidden to root");
        return;
    }
    assert_reported(&tree, forbidden, libc::EACCES);
}

#[test]
fn a_folder_that_is_not_there_is_reported() {
    let tree = Tree::new("absent");
    fs::remove_dir(tree.place.join("tree")).unwrap();
    let output = tree.digest(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert_same(&output.stdout, b"");
    assert!(output.stderr.starts_with(b"digest: \"tree\": No such file"), "{output:?}");
}

#[test]
fn an_empty_folder_has_no_sums() {
    let output = Tree::new("empty").digest(&["--chaos"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_same(&output.stdout, b"");
}

#[test]
fn a_file_that_never_ends_times_out_and_the_rest_is_done() {
    let _watchdog = watchdog("a_file_that_never_ends_times_out_and_the_rest_is_done");
    let mut tree = Tree::new("timeout");
    for number in 0..50 {
        tree.add(OsStr::new(&format!("{number}")), number);
    }
    // A hole larger than can be read in a day.
    let endless = Path::new("tree/endless");
    File::create(tree.place.join(endless)).unwrap().set_len(1 << 43).unwrap();
    let expected = tree.sums();
    for arguments in [&["--timeout", "2", "--jobs", "1"][..], &["--jobs", "3", "--timeout", "1.5"]]
    {
        let output = tree.digest(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let report = format!("digest: {endless:?}: took too long");
        assert_eq!(stderr.lines().filter(|line| *line == report).count(), 1, "{stderr}");
        if let Some(expected) = &expected {
            assert_same(&output.stdout, expected);
        }
    }
}

#[test]
fn wrong_arguments_are_refused_and_help_is_given() {
    let tree = Tree::new("arguments");
    for wrong in [
        &["--jobs", "0"][..],
        &["--jobs"],
        &["--timeout"],
        &["--timeout", "0"],
        &["--timeout", "inf"],
        &["--unknown"],
        &["other"],
    ] {
        let output = tree.digest(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
        assert_same(&output.stdout, b"");
    }
    let output = tree.digest(&["--help"]);
    assert!(output.status.success());
    assert!(output.stdout.starts_with(b"Writes the SHA-256"), "{output:?}");
}
