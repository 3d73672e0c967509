fn main() {
    let process = kinfolk::Process::spawn(|()| (), ()).unwrap();
    let _ = process.join();
    let _ = process.join();
}
