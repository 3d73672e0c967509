//! The example `mandelbrot`, undisturbed and with its workers killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use kinfolk_testkit::watchdog;

/// The example, built as this test is.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let features = [
            ("indicatif", true),
            ("tokio", cfg!(feature = "tokio")),
            ("tracing", cfg!(feature = "tracing")),
        ];
        let features: Vec<&str> =
            features.into_iter().filter_map(|(name, on)| on.then_some(name)).collect();
        let (package, scratch) = (env!("CARGO_MANIFEST_DIR"), env!("CARGO_TARGET_TMPDIR"));
        kinfolk_testkit::example("mandelbrot", package, scratch, &features)
    })
}

/// Draws, and returns the file and what the program said.
fn draw(name: &str, arguments: &[&str]) -> (Vec<u8>, Output) {
    let name = format!("mandelbrot-{name}-{}.png", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = Command::new(program()).args(arguments).arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let picture = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    (picture, output)
}

/// The number of workers that chaos killed.
fn killed(output: &Output) -> usize {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let prefix = "mandelbrot: killed and replaced workers: ";
    let line = stderr.lines().find_map(|line| line.strip_prefix(prefix));
    line.unwrap_or_else(|| panic!("no number of killed workers in: {stderr}")).parse().unwrap()
}

#[test]
fn the_picture_is_a_png_of_its_size_with_dark_and_bright_parts() {
    let _watchdog = watchdog("the_picture_is_a_png_of_its_size");
    let (picture, _) = draw("plain", &["--size", "60x40"]);
    let mut reader = png::Decoder::new(std::io::Cursor::new(picture)).read_info().unwrap();
    let mut points = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut points).unwrap();
    assert_eq!((info.width, info.height, points.len()), (60, 40, 2400));
    assert!(points.contains(&0) && points.iter().any(|shade| *shade > 20));
}

#[test]
fn chaos_changes_no_byte_of_the_picture() {
    let _watchdog = watchdog("chaos_changes_no_byte_of_the_picture");
    let size = ["--size", "160x120"];
    let (expected, _) = draw("one", &[&size[..], &["--jobs", "1"]].concat());
    for jobs in ["1", "2", "4"] {
        let (picture, output) = draw(jobs, &[&size[..], &["--chaos", "--jobs", jobs]].concat());
        assert!(picture == expected, "{jobs} workers draw another picture");
        assert!(killed(&output) > 0, "{output:?}");
    }
}

#[test]
fn wrong_arguments_are_refused_and_a_file_that_cannot_be_is_an_error() {
    for wrong in [
        &["--size", "0x5", "x"][..],
        &["--size", "5", "x"],
        &["--size", "99999x1", "x"],
        &["--jobs", "0", "x"],
        &["--unknown", "x"],
        &["x", "y"],
        &[],
    ] {
        let output = Command::new(program()).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
    }
    let absent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("absent/picture.png");
    let mut command = Command::new(program());
    let output = command.args(["--size", "4x4"]).arg(absent).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("No such file"), "{output:?}");
}
