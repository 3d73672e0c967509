fn main() {
    let process = kinfolk::Process::spawn(|()| (), ()).unwrap();
    let _ = process.close();
    let _ = process.pid();
}
