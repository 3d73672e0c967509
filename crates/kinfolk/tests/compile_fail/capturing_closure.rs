//! What a closure captures does not exist in another process.

fn main() {
    let factor = 2;
    let _ = kinfolk::Process::spawn(|n: u32| factor * n, 21);
}
