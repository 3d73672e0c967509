//! Values and arrays in shared memory.

use std::process::Command;
use std::time::Duration;

use kinfolk::{
    Abandoned, Array, Connection, Context, ErrorKind, Lock, Process, RawArray, RawValue,
    StartMethod, Value, pipe, queue, wait,
};
use kinfolk_testkit::{SHORT, for_each_start_method, in_its_own_process, watchdog};

kinfolk::test_init!();

/// Takes the lock, changes half of the value, and stays until it is killed.
fn change_half((value, tell): (Value<[u64; 2], Lock>, Connection<bool, ()>)) {
    let guard = value.lock().unwrap();
    guard.update(|[one, two]| [one + 1, two]);
    tell.send(&true).unwrap();
    loop {
        std::thread::park();
    }
}

/// Counts in an array: the sum of its elements, and how often.
fn count((array, value, times): (Array<u32>, Value<u64>, u32)) {
    for round in 0..times {
        let guard = array.lock().unwrap();
        guard.update(round as usize % guard.len(), |n| n + 1).unwrap();
        drop(guard);
        value.update(|n| n + 1).unwrap();
    }
}

for_each_start_method! {
    fn a_change_in_a_child_is_seen(method) {
        let value = RawValue::new(1.5).unwrap();
        let array = RawArray::from_slice(&[1_u16, 2, 3]).unwrap();
        let child = |(value, array): (RawValue<f64>, RawArray<u16>)| {
            assert_eq!((value.get(), array.to_vec()), (1.5, vec![1, 2, 3]));
            value.set(-2.5);
            array.write_from(1, &[20, 30]).unwrap();
        };
        let there = (value.try_clone().unwrap(), array.try_clone().unwrap());
        Context::new(method).spawn(child, there).unwrap().join().unwrap();
        assert_eq!((value.get(), array.to_vec()), (-2.5, vec![1, 20, 30]));
    }

    fn no_change_under_the_lock_is_lost(method) {
        let (array, value) = (Array::new(7).unwrap(), Value::new(0).unwrap());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let there = (array.try_clone().unwrap(), value.try_clone().unwrap(), 2_000);
                Context::new(method).spawn(count, there).unwrap()
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(array.lock().unwrap().to_vec().iter().sum::<u32>(), 6_000);
        assert_eq!(value.get().unwrap(), 6_000);
    }

    fn the_heir_of_a_killed_holder_is_told_and_repairs(method) {
        let raw = RawValue::new([1_u64, 1]).unwrap();
        let value = Value::with_lock(raw, Lock::new().unwrap());
        let (told, tell) = pipe::<(), bool>().unwrap();
        let there = (value.try_clone().unwrap(), tell);
        let holder: Process<()> = Context::new(method).spawn(change_half, there).unwrap();
        assert!(told.recv().unwrap());
        assert!(value.try_lock().unwrap().is_none());
        assert!(value.lock_timeout(SHORT).unwrap().is_none());
        holder.kill().unwrap();
        let abandoned = value.set([0, 0]).unwrap_err();
        assert_eq!(abandoned.pid(), holder.pid());
        let guard = abandoned.into_inner();
        assert_eq!(guard.get(), [2, 1], "half changed, and set has done nothing");
        guard.update(|[one, _]| [one, one]);
        drop(guard);
        assert_eq!(value.get().unwrap(), [2, 2]);
    }

    fn a_number_is_never_half_written_by_who_is_killed(method) {
        let value = RawValue::new(0_u32).unwrap();
        let array = RawArray::<u64>::new(2).unwrap();
        let write = |(value, array): (RawValue<u32>, RawArray<u64>)| {
            loop {
                value.set(!value.get());
                array.set(1, !array.get(1).unwrap()).unwrap();
            }
        };
        for _ in 0..5 {
            let there = (value.try_clone().unwrap(), array.try_clone().unwrap());
            let writer: Process<()> = Context::new(method).spawn(write, there).unwrap();
            // Until it writes, and then at any instruction.
            let before = value.get();
            while value.get() == before {
                assert!(wait(&[&writer], Some(Duration::from_micros(50))).unwrap().is_empty());
            }
            for _ in 0..10_000 {
                assert!([0, u32::MAX].contains(&value.get()));
                assert!([0, u64::MAX].contains(&array.get(1).unwrap()));
            }
            writer.kill().unwrap();
            wait(&[&writer], None).unwrap();
            assert!([0, u32::MAX].contains(&value.get()));
            assert_eq!(array.get(0), Some(0));
        }
    }
}

in_its_own_process! {
    fn a_fork_changes_what_its_closure_captured() {
        let (value, array) = (Value::new(1_i128).unwrap(), Array::<u8>::new(100).unwrap());
        let change = || {
            value.update(|n| n - 3).unwrap();
            array.lock().unwrap().fill(9);
        };
        Process::builder().fork(change).unwrap().join().unwrap();
        assert_eq!(value.get().unwrap(), -2);
        assert_eq!(array.lock().unwrap().to_vec(), [9; 100]);
    }

    fn a_fork_does_not_hold_what_its_parent_holds() {
        let value = Value::with_lock(RawValue::new(1).unwrap(), Lock::new().unwrap());
        let guard = value.lock().unwrap();
        let taken = Process::builder().fork(|| value.try_lock().unwrap().is_some());
        assert!(!taken.unwrap().join().unwrap());
        assert_eq!(guard.get(), 1);
    }
}

#[test]
fn they_travel_through_a_pipe_with_their_locks() {
    let _watchdog = watchdog("they_travel_through_a_pipe_with_their_locks");
    type All = (Value<u8>, Array<[f32; 3], Lock>, RawValue<i64>);
    let (a, b) = pipe::<All, ()>().unwrap();
    let raw = RawArray::from_slice(&[[1.0, 2.0, 3.0]]).unwrap();
    let array = Array::with_lock(raw, Lock::new().unwrap());
    let sent = (Value::new(7).unwrap(), array, RawValue::new(-1).unwrap());
    a.send(&sent).unwrap();
    let (value, array, raw) = b.recv().unwrap();
    sent.0.set(8).unwrap();
    raw.set(5);
    assert_eq!((value.get().unwrap(), sent.2.get()), (8, 5));
    let guard = sent.1.lock().unwrap();
    assert!(array.try_lock().unwrap().is_none(), "it is the same lock");
    guard.set(0, [4.0; 3]).unwrap();
    drop(guard);
    assert_eq!(array.lock().unwrap().to_vec(), [[4.0; 3]]);
}

#[test]
fn a_queue_refuses_them_by_name() {
    let (sender, _receiver) = queue::bounded::<Option<RawArray<u8>>>(10).unwrap();
    let error = sender.send(&Some(RawArray::new(1).unwrap())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Serialize);
    assert!(error.to_string().contains("RawArray<u8>"), "{error}");
    assert!(sender.is_empty());
    let (sender, _receiver) = queue::bounded::<Value<u8>>(10).unwrap();
    let error = sender.send(&Value::new(1).unwrap()).unwrap_err();
    assert!(error.to_string().contains("Value<u8"), "{error}");
}

#[test]
fn the_default_lock_is_recursive_and_one_lock_may_be_of_several() {
    let _watchdog = watchdog("the_default_lock_is_recursive_and_one_lock_may_be_of_several");
    let value = Value::new(1).unwrap();
    let guard = value.lock().unwrap();
    assert_eq!(value.update(|n| 10 * n).unwrap(), 10);
    assert_eq!(guard.get(), 10);
    let lock = Lock::new().unwrap();
    let one = Value::with_lock(RawValue::new(1).unwrap(), lock.try_clone().unwrap());
    let two = Array::with_lock(RawArray::<u8>::new(3).unwrap(), lock);
    let guard = one.lock().unwrap();
    assert!(two.try_lock().unwrap().is_none());
    assert!(two.get_lock().is_locked());
    assert_eq!(two.raw().to_vec(), [0; 3], "without the lock");
    drop(guard.into_lock_guard());
    assert!(two.try_lock().map_err(Abandoned::into_inner).unwrap().is_some());
}

#[test]
fn what_is_outside_of_an_array_is_an_error_and_changes_nothing() {
    let array = RawArray::from_slice(&[1_u64, 2, 3]).unwrap();
    assert_eq!((array.len(), array.get(2), array.get(3)), (3, Some(3), None));
    assert_eq!(array.get(usize::MAX), None);
    let mut two = [0; 2];
    for (first, count) in [(2, 2), (3, 1), (4, 0), (usize::MAX, 1), (usize::MAX / 8 + 1, 1)] {
        let wrote = array.write_from(first, &[9; 2][..count]).unwrap_err();
        assert_eq!(wrote.kind(), ErrorKind::InvalidInput);
        assert!(array.read_into(first, &mut two[..count]).is_err());
    }
    assert_eq!(array.set(3, 9).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!((array.to_vec(), two), (vec![1, 2, 3], [0; 2]));
    array.read_into(1, &mut two).unwrap();
    assert_eq!(two, [2, 3]);
    array.write_from(3, &[]).unwrap();
    let locked = Array::from_slice(&[1_u8]).unwrap();
    let error = locked.lock().unwrap().update(1, |n| n).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_array_of_any_length_and_kind_of_element_comes_back() {
    fn check<T: kinfolk::Pod + PartialEq + std::fmt::Debug>(make: impl Fn(usize) -> T) {
        for len in [0, 1, 7, 513, 5_000] {
            let values: Vec<T> = (0..len).map(&make).collect();
            let array = RawArray::from_slice(&values).unwrap();
            assert_eq!((array.to_vec(), array.is_empty()), (values, len == 0));
            array.fill(make(77));
            assert_eq!(array.to_vec(), vec![make(77); len]);
        }
    }
    check(|n| n as u8);
    check(|n| n as i16);
    check(|n| n as f32 / 3.0);
    check(|n| n as f64 / 3.0);
    check(|n| u128::MAX - n as u128);
    check(|n| [n as u8; 13]);
    check(|n| [n as u32; 3]);
}

#[test]
fn no_memory_and_a_limit_on_files_are_errors_and_no_signals() {
    let _watchdog = watchdog("no_memory_and_a_limit_on_files_are_errors_and_no_signals");
    for len in [1 << 47, usize::MAX, usize::MAX / 8] {
        assert_eq!(RawArray::<u64>::new(len).unwrap_err().kind(), ErrorKind::Exhausted);
    }
    let limited = |()| {
        let me = std::process::id().to_string();
        Command::new("prlimit").args(["--pid", &me, "--fsize=4096:4096"]).status().unwrap();
        let small = RawArray::<u8>::new(4032).map(|array| array.fill(1)).is_ok();
        let large = RawArray::<u8>::new(4033);
        small && large.is_err_and(|error| error.kind() == ErrorKind::Exhausted)
    };
    let context = Context::new(StartMethod::Spawn);
    assert!(context.spawn(limited, ()).unwrap().join().unwrap());
}
