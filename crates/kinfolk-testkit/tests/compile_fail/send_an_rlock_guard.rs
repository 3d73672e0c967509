fn main() {
    let lock = kinfolk::RLock::new().unwrap();
    let guard = lock.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(guard));
    });
}
