//! Queues: values, limits, ends, and what kills do to them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use kinfolk::queue::{self, Options, Receiver, Sender};
use kinfolk::{Context, ErrorKind, Handle, Process, WaitSet, pipe, wait};
use kinfolk_testkit::{
    LONG, Leaks, SHORT, for_each_start_method, forever, in_its_own_process, watchdog,
};

kinfolk::test_init!();

#[test]
fn values_of_every_size_come_out_in_order() {
    let _watchdog = watchdog("values_of_every_size_come_out_in_order");
    let (sender, receiver) = queue::bounded::<()>(50).unwrap();
    let sizes = [0, 1, 7, 8, 9, 100, 4096, 30_000, 65_536, 1 << 20, 5 << 20, 3, 30 << 20, 0];
    let value = |size: usize| (0..size).map(|place| (place * 7 + size) as u8).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for size in sizes.into_iter().cycle().take(28) {
                sender.send_bytes(&value(size)).unwrap();
            }
        });
        for size in sizes.into_iter().cycle().take(28) {
            assert!(receiver.recv_bytes().unwrap() == value(size), "{size}");
        }
        assert!(receiver.recv().unwrap_err().is_disconnected());
    });
}

#[test]
fn a_full_queue_takes_nothing_and_an_empty_one_gives_nothing() {
    let _watchdog = watchdog("a_full_queue_takes_nothing");
    let (sender, receiver) = queue::bounded::<u32>(2).unwrap();
    assert_eq!((sender.capacity(), receiver.is_empty()), (2, true));
    assert_eq!(receiver.try_recv().unwrap(), None);
    assert_eq!(receiver.recv_timeout(SHORT).unwrap(), None);
    assert!(sender.try_send(&1).unwrap());
    assert!(sender.send_timeout(&2, SHORT).unwrap());
    assert!(!sender.try_send(&3).unwrap());
    assert!(!sender.send_timeout(&3, SHORT).unwrap());
    assert!(!sender.send_bytes_timeout(&[3], SHORT).unwrap());
    assert_eq!((sender.len(), receiver.len()), (2, 2));
    assert_eq!(receiver.recv_many(10).unwrap(), [1, 2]);
    assert!(sender.is_empty());
    assert!(sender.send_bytes_timeout(&[3], SHORT).unwrap());
    assert_eq!(receiver.recv().unwrap(), 3);
}

#[test]
fn a_queue_grows_to_its_limit_and_no_further() {
    let (sender, receiver) =
        queue::with_options::<Vec<u8>>(Options::new(1000).bytes(1 << 20)).unwrap();
    let value = vec![7; 10_000];
    let mut sent = 0;
    while sender.try_send(&value).unwrap() {
        sent += 1;
    }
    assert!((100..=104).contains(&sent), "{sent} times 10,000 bytes in 1 MiB");
    assert_eq!(receiver.len(), sent);
    for _ in 0..sent {
        assert!(receiver.try_recv().unwrap().unwrap() == value);
    }
    let error = sender.send_bytes(&vec![0; (1 << 20) + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLong);
    assert!(error.to_string().contains("more bytes"), "{error}");
    sender.send_bytes(&vec![1; 1 << 20]).unwrap();
    assert_eq!(receiver.recv_bytes().unwrap(), vec![1; 1 << 20]);
}

#[test]
fn limits_that_cannot_be_are_refused() {
    for (capacity, bytes) in
        [(0, 1 << 20), (1 << 23, 1 << 20), (1, 0), (1, 1 << 40), (1, usize::MAX)]
    {
        let made = queue::with_options::<u8>(Options::new(capacity).bytes(bytes));
        assert_eq!(made.unwrap_err().kind(), ErrorKind::InvalidInput, "{capacity} {bytes}");
    }
}

in_its_own_process! {
    fn what_has_a_descriptor_in_it_is_refused_and_nothing_is_sent() {
        let leaks = Leaks::snapshot();
        let (sender, receiver) = queue::bounded::<Handle<File>>(2).unwrap();
        let error = sender.send(&Handle::from(File::open("/dev/null").unwrap())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Serialize);
        assert!(error.to_string().contains("Handle"), "{error}");
        assert!(receiver.is_empty());
        drop((sender, receiver));
        leaks.check();
    }

    fn a_queue_leaves_nothing_behind() {
        let leaks = Leaks::snapshot();
        for _ in 0..50 {
            let (sender, receiver) = queue::bounded::<u64>(10).unwrap();
            let receiver_too = receiver.try_clone().unwrap();
            sender.try_clone().unwrap().send(&1).unwrap();
            assert_eq!(wait(&[&receiver_too], None).unwrap(), [0]);
        }
        leaks.check();
    }
}

#[test]
fn many_values_become_visible_at_once_and_in_order() {
    let _watchdog = watchdog("many_values_become_visible_at_once");
    let (sender, receiver) = queue::bounded::<u64>(1000).unwrap();
    sender.send_many(&(0..700).collect::<Vec<_>>()).unwrap();
    assert_eq!(receiver.len(), 700);
    assert_eq!(receiver.recv_many(300).unwrap(), (0..300).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| sender.send_many(&(700..5000).collect::<Vec<_>>()));
        let mut next = 300;
        while next < 5000 {
            for value in receiver.recv_many(64).unwrap() {
                assert_eq!(value, next);
                next += 1;
            }
        }
        sending.join().unwrap().unwrap();
    });
    sender.send_many(&[]).unwrap();
    assert!(receiver.is_empty());
}

#[test]
fn a_message_that_is_no_such_value_is_an_error_and_gone() {
    let (sender, receiver) = queue::bounded::<String>(4).unwrap();
    sender.send_bytes(&[3, 0xff, 0xff, 0xff]).unwrap();
    sender.send(&"after".to_owned()).unwrap();
    assert_eq!(receiver.recv().unwrap_err().kind(), ErrorKind::Deserialize);
    assert_eq!(receiver.recv().unwrap(), "after");
}

/// Gives back what it gets, until the last sender is gone.
fn echo((from, to): (Receiver<u64>, Sender<u64>)) -> u64 {
    let mut count = 0;
    for value in &from {
        to.send(&value).unwrap();
        count += 1;
    }
    count
}

for_each_start_method! {
    fn values_go_to_a_process_and_back(method) {
        let (sender, there) = queue::bounded(10).unwrap();
        let (back, receiver) = queue::bounded(10).unwrap();
        let process = Context::new(method).spawn(echo, (there, back)).unwrap();
        for value in 0..2000 {
            sender.send(&value).unwrap();
            assert_eq!(receiver.recv().unwrap(), value);
        }
        sender.close();
        assert_eq!(process.join().unwrap(), 2000);
        assert!(receiver.recv().unwrap_err().is_disconnected());
    }

    fn the_end_of_the_last_other_side_is_an_error_killed_or_not(method) {
        let (sender, receiver) = queue::bounded::<u64>(1).unwrap();
        let keep_sender = |_sender: Sender<u64>| forever();
        let process: Process<()> = Context::new(method).spawn(keep_sender, sender).unwrap();
        assert_eq!(receiver.recv_timeout(SHORT).unwrap(), None);
        process.kill().unwrap();
        assert!(receiver.recv().unwrap_err().is_disconnected());

        let (sender, receiver) = queue::bounded::<u64>(1).unwrap();
        let keep_receiver = |_receiver: Receiver<u64>| forever();
        let process: Process<()> = Context::new(method).spawn(keep_receiver, receiver).unwrap();
        sender.send(&1).unwrap();
        assert!(!sender.send_timeout(&2, SHORT).unwrap());
        process.kill().unwrap();
        assert!(sender.send(&2).unwrap_err().is_disconnected());
    }

    fn a_queue_can_be_waited_for_with_sentinels_and_connections(method) {
        let (sender, receiver) = queue::bounded::<u64>(10).unwrap();
        let (a, b) = pipe::<(), u64>().unwrap();
        let objects: [&dyn AsFd; 2] = [&receiver, &a];
        assert!(wait(&objects, Some(SHORT)).unwrap().is_empty());
        let send_late = |sender: Sender<u64>| {
            std::thread::sleep(Duration::from_millis(5));
            sender.send(&9).unwrap();
            forever()
        };
        let process: Process<()> = Context::new(method).spawn(send_late, sender).unwrap();
        let objects: [&dyn AsFd; 3] = [&process, &receiver, &a];
        assert_eq!(wait(&objects, None).unwrap(), [1]);
        assert_eq!(receiver.try_recv().unwrap(), Some(9));
        assert!(wait(&objects, Some(SHORT)).unwrap().is_empty());
        b.send(&3).unwrap();
        assert_eq!(wait(&objects, None).unwrap(), [2]);
        a.recv().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        // Its sender is gone too.
        assert_eq!(wait(&objects, None).unwrap(), [0, 1]);
    }
}

#[test]
fn a_set_of_queues_tells_which_have_messages() {
    let _watchdog = watchdog("a_set_of_queues_tells_which_have_messages");
    let mut set = WaitSet::new().unwrap();
    let mut senders = Vec::new();
    for _ in 0..20 {
        let (sender, receiver) = queue::bounded::<usize>(100).unwrap();
        senders.push((set.insert(receiver).unwrap(), sender));
    }
    std::thread::scope(|scope| {
        let senders = &senders;
        scope.spawn(move || {
            for round in 0..2000 {
                senders[round * 7 % senders.len()].1.send(&round).unwrap();
            }
        });
        let mut seen = 0;
        while seen < 2000 {
            for key in set.wait(None).unwrap() {
                let place = senders.iter().position(|(known, _)| *known == key).unwrap();
                while let Some(round) = set.get(key).unwrap().try_recv().unwrap() {
                    assert_eq!(round * 7 % senders.len(), place);
                    seen += 1;
                }
            }
        }
    });
    assert!(set.wait(Some(SHORT)).unwrap().is_empty());
}

/// A sender's number, and how often it had sent before.
type Count = (u32, u64);

/// Sends numbers, each with the sender's, until it is killed.
fn produce((to, number): (Sender<Count>, u32)) {
    for count in 0.. {
        to.send(&(number, count)).unwrap();
    }
}

/// Passes on what it gets until it is killed.
fn pass_on((from, to): (Receiver<Count>, Sender<Count>)) {
    for value in &from {
        to.send(&value).unwrap();
    }
}

/// Senders and receivers are killed at random, and started again: what comes out
/// was sent, once, in the order of its sender; and no more is missing than one
/// message for each receiver that was killed.
#[test]
fn random_kills_lose_at_most_one_message_for_each_killed_receiver() {
    let _watchdog = watchdog("random_kills_lose_at_most_one_message");
    let (sender, there) = queue::bounded::<Count>(64).unwrap();
    let (back, receiver) = queue::bounded::<Count>(64).unwrap();
    let mut number = 0;
    let mut producer = || -> Process<()> {
        number += 1;
        Process::spawn(produce, (sender.try_clone().unwrap(), number)).unwrap()
    };
    let passer = || -> Process<()> {
        Process::spawn(pass_on, (there.try_clone().unwrap(), back.try_clone().unwrap())).unwrap()
    };
    let mut producers: Vec<_> = (0..2).map(|_| producer()).collect();
    let mut passers: Vec<_> = (0..2).map(|_| passer()).collect();
    let mut next: BTreeMap<u32, std::collections::BTreeSet<u64>> = BTreeMap::new();
    let mut killed = 0;
    let mut seen = 0_u64;
    let mut take = |values: Vec<Count>| {
        for (number, count) in values {
            assert!(next.entry(number).or_default().insert(count), "{number} {count} came twice");
            seen += 1;
        }
    };
    for round in 0..60_u64 {
        for _ in 0..(40 + round * 13 % 90) {
            take(receiver.recv_many(64).unwrap());
        }
        if round % 2 == 0 {
            producers.swap_remove(0).kill().unwrap();
            producers.push(producer());
        } else {
            passers.swap_remove(0).kill().unwrap();
            passers.push(passer());
            killed += 1;
        }
    }
    for process in &producers {
        process.kill().unwrap();
    }
    drop((producers, sender));
    drop(there);
    drop(back);
    // What the passers still have comes, and then they end.
    loop {
        match receiver.recv_timeout(LONG) {
            Ok(Some(value)) => take(vec![value]),
            Ok(None) => panic!("nothing came, and no end"),
            Err(error) => {
                assert!(error.is_disconnected(), "{error}");
                break;
            }
        }
    }
    let missing: u64 =
        next.values().map(|counts| counts.last().unwrap() + 1 - counts.len() as u64).sum();
    assert!(missing <= killed, "{missing} of {seen} are missing after {killed} kills");
    assert!(seen > 10_000, "{seen}");
}
