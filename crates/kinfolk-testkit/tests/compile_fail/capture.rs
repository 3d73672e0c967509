fn main() {
    let factor = 3;
    let _ = kinfolk::Process::spawn(|n: u32| n * factor, 4);
}
