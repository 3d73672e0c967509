//! A closed process has no handle any more.

fn main() {
    let process = kinfolk::Process::spawn(|()| (), ()).unwrap();
    process.close().unwrap();
    process.kill().unwrap();
}
