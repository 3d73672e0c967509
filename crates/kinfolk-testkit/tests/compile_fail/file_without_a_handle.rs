//! A file travels as a `Handle`, not by itself.

fn main() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let _ = kinfolk::Process::spawn(|_: std::fs::File| (), file);
}
