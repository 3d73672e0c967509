//! What is told of how far a pool's map has come.

use std::sync::{Arc, Mutex};

use kinfolk::{ErrorKind, Pool, StartMethod};
use kinfolk_testkit::{for_each_start_method, watchdog};

kinfolk::test_init!();

/// What was told, in order.
type Told = Arc<Mutex<Vec<(u64, Option<u64>)>>>;

/// Something that takes down what it is told, and where.
fn reporter() -> (Told, impl Fn(u64, Option<u64>) + Send + Sync + 'static) {
    let told = Told::default();
    let (notes, thread) = (Arc::clone(&told), std::thread::current().id());
    let report = move |done, total| {
        assert_eq!(std::thread::current().id(), thread, "told on another thread");
        notes.lock().unwrap().push((done, total));
    };
    (told, report)
}

/// Takes what was told, which must rise to the end.
#[track_caller]
fn take_rising(told: &Told, items: u64) -> Vec<(u64, Option<u64>)> {
    let told = std::mem::take(&mut *told.lock().unwrap());
    assert!(told.is_sorted_by(|before, after| before.0 < after.0), "{told:?}");
    assert_eq!(told.last(), Some(&(items, Some(items))));
    told
}

/// A pool of two workers.
fn pool(method: StartMethod) -> Pool {
    Pool::builder().workers(2).start_method(method).build().unwrap()
}

fn square(n: u64) -> u64 {
    n * n
}

for_each_start_method! {
    fn each_kind_of_map_tells_how_far_it_has_come(method) {
        let pool = pool(method);
        let (told, report) = reporter();
        let maps = pool.chunked(5).progress(report);
        assert_eq!(maps.map(square, 0..100).unwrap().len(), 100);
        let of_map = take_rising(&told, 100);
        assert!(of_map.iter().all(|(_, total)| *total == Some(100)), "{of_map:?}");
        assert_eq!(maps.imap(square, 0..100).unwrap().count(), 100);
        take_rising(&told, 100);
        assert_eq!(maps.imap_unordered(square, 0..100).unwrap().count(), 100);
        take_rising(&told, 100);
        let task = maps.map_async(square, 0..100).unwrap();
        assert_eq!(task.get().unwrap().len(), 100);
        take_rising(&told, 100);
    }

    fn an_iterator_that_does_not_know_its_size_has_no_total_until_it_ends(method) {
        let pool = pool(method);
        let (told, report) = reporter();
        let odd = (0..2000_u64).filter(|n| n % 2 == 1);
        assert_eq!(pool.chunked(1).progress(report).map(square, odd).unwrap().len(), 1000);
        let told = take_rising(&told, 1000);
        assert_eq!(told[0].1, None, "{told:?}");
    }
}

#[test]
fn nothing_to_do_is_told_once_and_failures_are_done() {
    let _watchdog = watchdog("nothing_to_do_is_told_once_and_failures_are_done");
    let pool = pool(StartMethod::Forkserver);
    let (told, report) = reporter();
    let maps = pool.progress(report);
    assert!(maps.map(square, 0..0).unwrap().is_empty());
    assert_eq!(take_rising(&told, 0).len(), 1);
    let fail = |n: u64| assert!(n != 3, "three");
    assert_eq!(maps.map(fail, 0..10).unwrap_err().kind(), ErrorKind::Panicked);
    take_rising(&told, 10);
}

#[test]
fn tasks_with_a_state_tell_it_too() {
    let _watchdog = watchdog("tasks_with_a_state_tell_it_too");
    let pool = Pool::builder().workers(2).initializer(|base: u64| base, 5);
    let pool = pool.build().unwrap();
    let (told, report) = reporter();
    let maps = pool.stateful().chunked(2).progress(report);
    assert_eq!(maps.map(|base: &mut u64, n: u64| *base + n, 0..10).unwrap(), Vec::from_iter(5..15));
    take_rising(&told, 10);
}

#[test]
fn a_report_may_use_and_end_its_pool() {
    let _watchdog = watchdog("a_report_may_use_and_end_its_pool");
    let pool = Arc::new(pool(StartMethod::Forkserver));
    let again = Arc::clone(&pool);
    let report = move |done, _| {
        if done < 50 {
            assert_eq!(again.apply(square, done).unwrap(), done * done);
        } else {
            again.terminate();
        }
    };
    let results = pool.chunked(1).progress(report).map(square, 0..1000);
    assert_eq!(results.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn a_panic_of_a_report_is_that_of_who_waits() {
    let _watchdog = watchdog("a_panic_of_a_report_is_that_of_who_waits");
    let pool = pool(StartMethod::Forkserver);
    let mapped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.progress(|_, _| panic!("seen enough")).map(square, 0..100)
    }));
    assert!(mapped.is_err());
    assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4]);
}

#[cfg(feature = "indicatif")]
#[test]
fn a_bar_has_the_length_and_is_finished() {
    let _watchdog = watchdog("a_bar_has_the_length_and_is_finished");
    let pool = pool(StartMethod::Forkserver);
    let bar = indicatif::ProgressBar::hidden();
    pool.progress_bar(&bar).map(square, 0..100).unwrap();
    assert_eq!((bar.position(), bar.length(), bar.is_finished()), (100, Some(100), true));
    let bar = indicatif::ProgressBar::no_length();
    bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    let pool_of_state = pool.stateful().progress_bar(&bar);
    let keep = |(): &mut (), n: u64| n;
    pool_of_state.map(keep, (0..100).filter(|n| n % 3 == 0)).unwrap();
    assert_eq!((bar.position(), bar.length(), bar.is_finished()), (34, Some(34), true));
}
