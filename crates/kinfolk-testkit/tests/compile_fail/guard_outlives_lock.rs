fn main() {
    let lock = kinfolk::Lock::new().unwrap();
    let guard = lock.lock();
    drop(lock);
    drop(guard);
}
