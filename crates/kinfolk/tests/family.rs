//! The example `family`: Rust and Python under one key.

use std::process::Command;

use kinfolk_testkit::{example, pythons, watchdog};

#[test]
fn rust_and_python_share_a_dict_and_a_queue() {
    let _watchdog = watchdog("rust_and_python_share_a_dict_and_a_queue");
    let (package, scratch) = (env!("CARGO_MANIFEST_DIR"), env!("CARGO_TARGET_TMPDIR"));
    let family = example("family", package, scratch, &["pickle"]);
    if pythons().is_empty() {
        return;
    }
    let output = Command::new(family).args(["3", "-4", "0"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let expected =
        "3 squared is 9\n-4 squared is 16\n0 squared is 0\nserver: Rust\nclient: Python\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn a_wrong_number_is_an_error() {
    let (package, scratch) = (env!("CARGO_MANIFEST_DIR"), env!("CARGO_TARGET_TMPDIR"));
    let family = example("family", package, scratch, &["pickle"]);
    let output = Command::new(family).arg("three").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("family: "));
}
