//! Lists in shared memory, in Python's layout.

use std::process::{Command, Stdio};

use kinfolk::{
    Connection, Context, ErrorKind, ListItem, Process, ShareableList, SharedMemory, pipe, wait,
};
use kinfolk_testkit::{Leaks, for_each_start_method, in_its_own_process, watchdog};

kinfolk::test_init!();

/// What a Python program begins with: `List(name)` attaches without making its
/// process's end the name's, and `make(name, values)` creates likewise.
const PYTHON: &str = "
import sys
from multiprocessing import resource_tracker, shared_memory

def untracked(values):
    resource_tracker.unregister(values.shm._name, 'shared_memory')
    return values

def List(name):
    return untracked(shared_memory.ShareableList(name=name))

def make(name, values):
    return untracked(shared_memory.ShareableList(values, name=name))

name = sys.argv[1]
";

/// A name of this test that no other run uses.
fn name(test: &str) -> String {
    format!("kinfolk-test-{}-{test}", std::process::id())
}

/// Runs a Python program with the name; returns what it printed, or `None`, and says
/// so, if there is no Python.
fn python(program: &str, name: &str) -> Option<String> {
    let program = format!("{PYTHON}{program}");
    let mut run = Command::new("python3");
    match run.args(["-c", &program, name]).stderr(Stdio::inherit()).output() {
        Ok(output) => {
            assert!(output.status.success(), "the Python program fails");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            eprintln!("skipped the part with Python: {error}");
            None
        }
    }
}

/// Items of all kinds.
fn items() -> Vec<ListItem> {
    vec![
        ().into(),
        true.into(),
        false.into(),
        (-7).into(),
        i64::MAX.into(),
        2.5.into(),
        "grün".into(),
        "".into(),
        b"\0bytes\0".as_slice().into(),
        b"12345678".as_slice().into(),
    ]
}

fn all(list: &ShareableList) -> Vec<ListItem> {
    list.iter().collect::<Result<_, _>>().unwrap()
}

/// Attaches a list, and changes it without end.
fn change_without_end((name, tell): (String, Connection<bool, ()>)) {
    let list = ShareableList::attach(&name).unwrap();
    tell.send(&true).unwrap();
    loop {
        list.set(0, "text").unwrap();
        list.set(0, 1.5).unwrap();
    }
}

for_each_start_method! {
    fn a_list_travels_inside_a_value_and_is_the_same_there(method) {
        let list = ShareableList::new(&items()).unwrap();
        let child = |list: ShareableList| {
            assert_eq!(all(&list), items());
            list.set(3, "seven").unwrap();
        };
        Context::new(method).spawn(child, list.try_clone().unwrap()).unwrap().join().unwrap();
        assert_eq!(list.get(3).unwrap(), "seven".into());
        assert_eq!(list.memory().name(), None);
    }

    fn a_change_that_is_killed_leaves_the_old_the_new_or_an_error(method) {
        let name = name(&format!("killed-{method:?}"));
        let list = ShareableList::create(&name, &[1.5.into(), "beside".into()]).unwrap();
        for round in 0..8 {
            let (told, tell) = pipe::<(), bool>().unwrap();
            let there = (name.clone(), tell);
            let changer: Process<()> =
                Context::new(method).spawn(change_without_end, there).unwrap();
            assert!(told.recv().unwrap());
            let while_it_runs = std::time::Duration::from_micros(150 + 37 * round);
            assert!(wait(&[&changer], Some(while_it_runs)).unwrap().is_empty());
            changer.kill().unwrap();
            wait(&[&changer], None).unwrap();
            match list.get(0) {
                Ok(item) => assert!(item == "text".into() || item == 1.5.into(), "{item:?}"),
                Err(error) => assert!(error.to_string().contains("being changed"), "{error}"),
            }
            list.set(0, 1.5).unwrap();
            assert_eq!(all(&list), [1.5.into(), "beside".into()]);
        }
        list.memory().unlink().unwrap();
    }
}

#[test]
fn python_reads_and_changes_a_list_made_here() {
    let _watchdog = watchdog("python_reads_and_changes_a_list_made_here");
    let name = name("made-here");
    let list = ShareableList::create(&name, &items()).unwrap();
    let program = "
values = List(name)
assert len(values) == 10
# It strips the NULs at the end, as it does with its own.
expected = [None, True, False, -7, 2**63 - 1, 2.5, 'grün', '', b'\\0bytes', b'12345678']
assert list(values) == expected, list(values)
assert [type(v) for v in values] == [type(v) for v in expected]
values[0] = 5
values[1] = None
values[5] = 'text'
values[7] = b'12345678'
values[8] = 'longer!!'  # all the room, though there were seven bytes
values[9] = 'sixteen letters!'
assert values.count(None) == 1 and values.index('text') == 5
values.shm.close()
";
    if python(program, &name).is_some() {
        let expected: [ListItem; 10] = [
            5.into(),
            ().into(),
            false.into(),
            (-7).into(),
            i64::MAX.into(),
            "text".into(),
            "grün".into(),
            b"12345678".as_slice().into(),
            "longer!!".into(),
            "sixteen letters!".into(),
        ];
        assert_eq!(all(&list), expected);
    }
    list.memory().unlink().unwrap();
}

#[test]
fn what_is_changed_here_in_a_list_of_python_is_seen_there() {
    let _watchdog = watchdog("what_is_changed_here_in_a_list_of_python_is_seen_there");
    let name = name("made-there");
    let values = "[None, True, 42, -0.5, 'short', 'a' * 100, b'ab\\0c', b'']";
    if python(&format!("make(name, {values}).shm.close()"), &name).is_none() {
        return;
    }
    let list = ShareableList::attach(&name).unwrap();
    let expected: [ListItem; 8] = [
        ().into(),
        true.into(),
        42.into(),
        (-0.5).into(),
        "short".into(),
        "a".repeat(100).into(),
        b"ab\0c".as_slice().into(),
        b"".as_slice().into(),
    ];
    assert_eq!(all(&list), expected);
    assert_eq!(list.format().unwrap(), "xxxxxx?xxxxxxxx?qd8s104s8s8s");
    list.set(0, "was None").unwrap();
    list.set(1, 10).unwrap();
    list.set(2, b"NULs\0\0".as_slice()).unwrap();
    list.set(4, ()).unwrap();
    list.set(5, "ä".repeat(52)).unwrap();
    list.set(6, false).unwrap();
    let program = "
values = List(name)
expected = ['was None', 10, b'NULs', -0.5, None, 'ä' * 52, False, b'']
assert list(values) == expected, list(values)
assert values.format == '8sq6sxdxxxxxx?x104sxxxxxxx?8s', values.format
values[2] = b'12345678'
values.shm.close()
";
    python(program, &name).unwrap();
    assert_eq!(list.get(2).unwrap(), b"12345678".as_slice().into());
    list.memory().unlink().unwrap();
}

#[test]
fn text_that_python_cut_inside_of_a_character_is_an_error() {
    let _watchdog = watchdog("text_that_python_cut_inside_of_a_character_is_an_error");
    let name = name("cut");
    if python("make(name, ['a' + 'ä' * 6]).shm.close()", &name).is_none() {
        return;
    }
    let list = ShareableList::attach(&name).unwrap();
    let error = list.get(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deserialize);
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    list.memory().unlink().unwrap();
}

#[test]
fn the_layout_is_the_same_as_of_python() {
    let _watchdog = watchdog("the_layout_is_the_same_as_of_python");
    let (here, there) = (name("layout-here"), name("layout-there"));
    let values = "[None, True, 3, 4.5, 'text', b'bytes of more than a word', b'12345678', '']";
    if python(&format!("make(name, {values}).shm.close()"), &there).is_none() {
        return;
    }
    let theirs = ShareableList::attach(&there).unwrap();
    let ours = ShareableList::create(&here, &all(&theirs)).unwrap();
    let bytes = |list: &ShareableList| {
        let mut bytes = vec![0; list.memory().size()];
        list.memory().read(0, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(bytes(&ours), bytes(&theirs));
    ours.memory().unlink().unwrap();
    theirs.memory().unlink().unwrap();
}

#[test]
fn nothing_is_cut_or_stripped() {
    let list = ShareableList::new(&["1234567".into(), 1.into()]).unwrap();
    let before = all(&list);
    for too_long in ["123456789", "ääääa"] {
        for index in 0..2 {
            let error = list.set(index, too_long).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
    assert_eq!(all(&list), before);
    for fits in ["", "\0", "12\0\0", "1234567\0", "\0\0\0\0\0\0\0\0", "12345678"] {
        for index in 0..2 {
            list.set(index, fits).unwrap();
            assert_eq!(list.get(index).unwrap(), fits.into());
            list.set(index, fits.as_bytes()).unwrap();
            assert_eq!(list.get(index).unwrap(), fits.as_bytes().into());
        }
    }
    let long = ListItem::Bytes(vec![0; 1_000_000]);
    assert_eq!(ShareableList::new(&[long]).unwrap_err().kind(), ErrorKind::InvalidInput);
    let long = ListItem::Bytes(vec![1; 10_000_000]);
    assert_eq!(ShareableList::new(&[long]).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn finding_counting_and_what_is_outside() {
    let list = ShareableList::new(&[1.into(), 1.0.into(), true.into(), 1.into()]).unwrap();
    assert_eq!((list.len(), list.is_empty()), (4, false));
    assert_eq!(list.count(&1.into()).unwrap(), 2);
    assert_eq!(list.index(&true.into()).unwrap(), Some(2));
    assert_eq!(list.index(&"1".into()).unwrap(), None);
    assert_eq!(list.format().unwrap(), "qdxxxxxxx?q");
    assert_eq!(list.get(4).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(list.set(usize::MAX, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    let empty = ShareableList::new(&[]).unwrap();
    assert!(empty.is_empty() && all(&empty).is_empty());
    assert_eq!(empty.get(0).unwrap_err().kind(), ErrorKind::InvalidInput);
}

in_its_own_process! {
    fn a_list_that_cannot_be_leaves_no_name() {
        let before = Leaks::snapshot();
        let name = name("cannot");
        let long = ListItem::Bytes(vec![1; 10_000_000]);
        assert!(ShareableList::create(&name, &[long]).is_err());
        let list = ShareableList::create(&name, &items()).unwrap();
        assert_eq!(ShareableList::create(&name, &[]).unwrap_err().kind(), ErrorKind::InUse);
        list.memory().unlink().unwrap();
        assert_eq!(ShareableList::attach(&name).unwrap_err().kind(), ErrorKind::NotFound);
        drop(list);
        before.check();
    }
}

/// The memory of a list, word after word.
fn with_words(name: &str, size: usize, words: &[i64]) -> SharedMemory {
    let memory = SharedMemory::create(name, size).unwrap();
    for (place, word) in words.iter().enumerate() {
        memory.write(8 * place, &word.to_ne_bytes()).unwrap();
    }
    memory
}

#[test]
fn memory_that_is_no_list_is_refused() {
    let name = name("no-list");
    let cases: &[(usize, &[i64])] = &[
        (1, &[]),
        (15, &[]),
        (4096, &[]),
        (4096, &[-1, 0, 8]),
        (4096, &[i64::MIN]),
        (4096, &[i64::MAX]),
        (4096, &[i64::MAX / 8]),
        (4096, &[4096 / 17 + 1]),
        (4095, &[4096 / 17]),
        (40, &[1, 0, 8]),
        (41, &[1, 0, 9]),
        (41, &[1, 0, -8]),
        (4096, &[1, 0, i64::MAX]),
    ];
    for (size, words) in cases {
        let memory = with_words(&name, *size, words);
        let error = ShareableList::attach(&name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deserialize, "{size} {words:?}");
        assert!(error.to_string().contains("no list"), "{error}");
        memory.unlink().unwrap();
    }
}

#[test]
fn offsets_outside_of_the_list_are_errors_of_their_items() {
    let name = name("offsets");
    for (start, end) in [(-1, 8), (8, 0), (0, 17), (i64::MAX, i64::MAX), (0, i64::MIN), (1, 8)] {
        let list = ShareableList::create(&name, &[1.into(), 2.into()]).unwrap();
        list.memory().write(8, &i64::to_ne_bytes(start)).unwrap();
        list.memory().write(16, &i64::to_ne_bytes(end)).unwrap();
        let error = list.get(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deserialize, "{start} {end}");
        assert!(list.set(0, 3).is_err());
        assert!(list.iter().any(|item| item.is_err()));
        list.memory().unlink().unwrap();
    }
}

/// Any bytes in a list are items or errors.
#[test]
fn no_content_is_more_than_an_error() {
    let _watchdog = watchdog("no_content_is_more_than_an_error");
    let name = name("hostile");
    // A fixed sequence, so that a failure comes again.
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let interesting = [0, 1, 2, 7, 8, b'0', b'9', b's', b'x', b'q', b'd', b'?', 0x7f, 0x80, 0xff];
    let (mut good, mut refused, mut wrong) = (0, 0, 0);
    for _ in 0..1_000 {
        let list = ShareableList::create(&name, &items()).unwrap();
        for _ in 0..=random(8) {
            let place = random(list.memory().size());
            list.memory().write(place, &[interesting[random(interesting.len())]]).unwrap();
        }
        match ShareableList::attach(&name) {
            Err(_) => refused += 1,
            Ok(again) => {
                for index in 0..again.len() {
                    if again.get(index).is_ok() {
                        good += 1
                    } else {
                        wrong += 1
                    }
                    let _ = again.set(index, "text");
                }
                let _ = (again.format(), again.count(&1.into()), again.index(&"text".into()));
            }
        }
        list.memory().unlink().unwrap();
    }
    assert!(good > 1000 && refused > 50 && wrong > 50, "{good} {refused} {wrong}");
}
