//! Messages on lease, and large ones: what is given back, and what kills leave.

use std::time::Duration;

use kinfolk::queue::{self, Options, Receiver, Sender};
use kinfolk::{Connection, Context, Process, pipe, wait};
use kinfolk_testkit::{LONG, SHORT, for_each_start_method, forever, watchdog};

kinfolk::test_init!();

/// Holds a message on lease until it is killed.
fn hold((receiver, tell): (Receiver<String>, Connection<String, ()>)) {
    let lease = receiver.recv_leased().unwrap();
    tell.send(&lease).unwrap();
    forever()
}

for_each_start_method! {
    fn a_message_whose_holder_is_killed_goes_back(method) {
        let (sender, receiver) = queue::bounded(10).unwrap();
        let (told, tell) = pipe::<(), String>().unwrap();
        sender.send_many(&["one".to_owned(), "two".to_owned()]).unwrap();
        let there = receiver.try_clone().unwrap();
        let holder = Context::new(method).spawn(hold, (there, tell)).unwrap();
        assert_eq!(told.recv().unwrap(), "one");
        assert_eq!(receiver.recv().unwrap(), "two");
        assert_eq!(receiver.recv_timeout(SHORT).unwrap(), None);
        assert!(!sender.join_timeout(SHORT));
        holder.kill().unwrap();
        let lease = receiver.recv_leased().unwrap();
        assert_eq!(*lease, "one");
        assert!(!sender.join_timeout(SHORT));
        lease.done();
        sender.join();
    }

    fn large_messages_of_a_killed_sender_arrive_and_leave_no_space_taken(method) {
        let (sender, receiver) = queue::with_options::<()>(Options::new(100).bytes(1 << 20)).unwrap();
        let fill = |sender: Sender<()>| {
            loop {
                sender.send_bytes(&[7; 300_000]).unwrap();
            }
        };
        for _ in 0..5 {
            let there = sender.try_clone().unwrap();
            let process: Process<()> = Context::new(method).spawn(fill, there).unwrap();
            assert_eq!(receiver.recv_bytes().unwrap(), [7; 300_000]);
            process.kill().unwrap();
            wait(&[&process], None).unwrap();
            while !receiver.is_empty() {
                assert_eq!(receiver.recv_bytes().unwrap(), [7; 300_000]);
            }
            // All of it is free again.
            sender.send_bytes(&[1; 1 << 20]).unwrap();
            assert_eq!(receiver.recv_bytes().unwrap(), [1; 1 << 20]);
        }
    }
}

#[test]
fn a_receiver_that_never_waits_finds_the_message_of_a_dead_holder() {
    let _watchdog = watchdog("a_receiver_that_never_waits_finds_the_message");
    let (sender, receiver) = queue::bounded(10).unwrap();
    let (told, tell) = pipe::<(), String>().unwrap();
    sender.send(&"one".to_owned()).unwrap();
    let holder = Process::spawn(hold, (receiver.try_clone().unwrap(), tell)).unwrap();
    assert_eq!(told.recv().unwrap(), "one");
    holder.kill().unwrap();
    // There is always another one to receive.
    sender.send(&"more".to_owned()).unwrap();
    loop {
        sender.send(&"more".to_owned()).unwrap();
        let lease = receiver.recv_leased().unwrap();
        let found = *lease == "one";
        lease.done();
        if found {
            break;
        }
    }
}

#[test]
fn what_is_dropped_undone_comes_first_and_what_is_done_comes_no_more() {
    let _watchdog = watchdog("what_is_dropped_undone_comes_first");
    let (sender, receiver) = queue::bounded(10).unwrap();
    sender.send_many(&[1_u32, 2, 3]).unwrap();
    let one = receiver.recv_leased().unwrap();
    let two = receiver.recv_leased().unwrap();
    assert_eq!((*one, *two, receiver.len()), (1, 2, 1));
    drop(one);
    two.done();
    assert_eq!(receiver.recv().unwrap(), 1);
    assert_eq!(*receiver.recv_leased_timeout(LONG).unwrap().unwrap(), 3);
    // It was dropped there.
    assert_eq!(receiver.try_recv().unwrap(), Some(3));
    assert!(receiver.recv_leased_timeout(SHORT).unwrap().is_none());
    sender.join();
}

#[test]
fn a_message_that_is_given_back_makes_receivers_ready() {
    let _watchdog = watchdog("a_message_that_is_given_back_makes_receivers_ready");
    let (sender, receiver) = queue::bounded(10).unwrap();
    let other = receiver.try_clone().unwrap();
    sender.send(&1_u32).unwrap();
    let lease = receiver.recv_leased().unwrap();
    assert!(wait(&[&other], Some(Duration::ZERO)).unwrap().is_empty());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(&[&other], None).unwrap());
        drop(lease);
        assert_eq!(waiter.join().unwrap(), [0]);
    });
    assert_eq!(wait(&[&receiver], None).unwrap(), [0], "it is still there");
    assert_eq!(other.recv().unwrap(), 1);
    assert!(wait(&[&receiver], Some(Duration::ZERO)).unwrap().is_empty());
}

/// The time that this thread has spent on a processor.
fn spent() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn who_finds_no_room_for_a_lease_sleeps_until_one_ends() {
    let _watchdog = watchdog("who_finds_no_room_for_a_lease_sleeps_until_one_ends");
    // Room for sixteen pages, and so many leases.
    let (sender, receiver) = queue::with_options(Options::new(100).bytes(1 << 16)).unwrap();
    sender.send_many(&Vec::from_iter(0..18)).unwrap();
    let mut leases: Vec<_> = (0..16).map(|_| receiver.recv_leased().unwrap()).collect();
    let (before, time) = (spent(), Duration::from_secs(1));
    assert!(receiver.recv_leased_timeout(time).unwrap().is_none());
    assert!(spent() - before < time / 2, "it looks again and again");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| *receiver.recv_leased().unwrap());
        leases.remove(1).done();
        assert_eq!(waiter.join().unwrap(), 16);
    });
}

#[test]
fn the_end_of_the_senders_waits_for_what_is_on_lease() {
    let _watchdog = watchdog("the_end_of_the_senders_waits_for_what_is_on_lease");
    let (sender, receiver) = queue::bounded(10).unwrap();
    sender.send(&7_u32).unwrap();
    drop(sender);
    let lease = receiver.recv_leased().unwrap();
    assert_eq!(receiver.recv_timeout(SHORT).unwrap(), None);
    drop(lease);
    receiver.recv_leased().unwrap().done();
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn a_view_keeps_its_space_until_it_is_dropped() {
    let _watchdog = watchdog("a_view_keeps_its_space_until_it_is_dropped");
    let (sender, receiver) = queue::with_options::<()>(Options::new(10).bytes(1 << 20)).unwrap();
    let large: Vec<u8> = (0..700_000).map(|place| (place % 253) as u8).collect();
    sender.send_bytes(&large).unwrap();
    let view = receiver.recv_view().unwrap();
    assert_eq!((view.len(), view.is_empty()), (large.len(), false));
    let mut copy = vec![0; large.len()];
    assert_eq!(view.copy_to(&mut copy[1..]), None);
    assert_eq!(view.copy_to(&mut copy), Some(large.len()));
    assert!(copy == large);
    // SAFETY: no other process has this queue.
    assert!(unsafe { view.as_slice() } == large);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| sender.send_bytes(&large));
        assert!(!sending.is_finished());
        assert!(receiver.is_empty(), "there is no room for two");
        assert!(view.into_vec().unwrap() == large);
        sending.join().unwrap().unwrap();
    });
    drop(receiver.recv_view().unwrap());
    sender.send_bytes(b"small").unwrap();
    assert_eq!(receiver.recv_view().unwrap().into_vec().unwrap(), b"small");
}

#[test]
fn large_and_small_messages_stay_in_order() {
    let _watchdog = watchdog("large_and_small_messages_stay_in_order");
    let (sender, receiver) = queue::bounded::<String>(1000).unwrap();
    let value = |n: usize| n.to_string().repeat(if n.is_multiple_of(3) { 20_000 } else { 2 });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for start in (0..300).step_by(10) {
                sender.send_many(&(start..start + 10).map(value).collect::<Vec<_>>()).unwrap();
            }
        });
        let mut n = 0;
        while n < 300 {
            for got in receiver.recv_many(7).unwrap() {
                assert!(got == value(n), "{n}");
                n += 1;
            }
        }
    });
}

/// Works on what it gets, slowly enough to be killed in the middle.
fn work((jobs, results): (Receiver<u64>, Sender<u64>)) {
    loop {
        let Ok(job) = jobs.recv_leased() else { return };
        std::hint::black_box((0..2000_u64).sum::<u64>());
        results.send(&*job).unwrap();
        job.done();
    }
}

/// Workers are killed at random: every job is done, some of them twice.
#[test]
fn random_kills_lose_no_message_on_lease() {
    const JOBS: u64 = 3000;
    let _watchdog = watchdog("random_kills_lose_no_message_on_lease");
    let (sender, jobs) = queue::bounded::<u64>(50).unwrap();
    let (done, results) = queue::bounded::<u64>(10_000).unwrap();
    let start = || -> Process<()> {
        Process::spawn(work, (jobs.try_clone().unwrap(), done.try_clone().unwrap())).unwrap()
    };
    let mut workers: Vec<_> = (0..3).map(|_| start()).collect();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for job in 0..JOBS {
                sender.send(&job).unwrap();
            }
            sender.join();
        });
        let mut round = 0_usize;
        while !sending.is_finished() {
            let victim = workers.swap_remove(round % workers.len());
            let pause = Duration::from_micros(700 + 131 * (round as u64 % 17));
            assert!(wait(&[&victim], Some(pause)).unwrap().is_empty());
            victim.kill().unwrap();
            workers.push(start());
            round += 1;
        }
    });
    for worker in &workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let mut seen = vec![0_u32; usize::try_from(JOBS).unwrap()];
    while let Some(job) = results.try_recv().unwrap() {
        seen[usize::try_from(job).unwrap()] += 1;
    }
    let missing: Vec<_> = seen.iter().enumerate().filter(|(_, times)| **times == 0).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
