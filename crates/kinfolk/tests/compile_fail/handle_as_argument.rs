//! Only the parent of a process may hold its handle.

use kinfolk::Process;

fn stranger(_: Process<()>) {}

fn main() {
    let process = Process::spawn(|()| (), ()).unwrap();
    let _ = Process::spawn(stranger, process);
}
