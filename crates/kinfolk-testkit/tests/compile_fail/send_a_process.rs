fn take(_: kinfolk::Process<()>) {}

fn main() {
    let process = kinfolk::Process::spawn(|()| (), ()).unwrap();
    let _ = kinfolk::Process::spawn(take, process);
}
