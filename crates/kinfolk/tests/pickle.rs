//! Pickles: both ways with every Python of this machine, and from hostile peers.

use std::fmt::Write as _;

use kinfolk::plain::{Dict, Set};
use kinfolk::{ErrorKind, Plain, pickle};
use kinfolk_testkit::{Numbers, pythons, run_python, watchdog};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

/// Values of all kinds as Python writes them, and as they are here.
fn values() -> Vec<(&'static str, Plain)> {
    let dict = |pairs: &[(Plain, Plain)]| Dict::from_pairs(pairs.to_vec()).unwrap().into();
    let set = |items: &[Plain]| Set::from_items(items.to_vec()).unwrap().into();
    let list = |items: &[Plain]| Plain::List(items.to_vec());
    let tuple = |items: &[Plain]| Plain::Tuple(items.to_vec());
    let text: Plain = "text".into();
    vec![
        ("None", ().into()),
        ("True", true.into()),
        ("False", false.into()),
        ("0", 0.into()),
        ("255", 255.into()),
        ("256", 256.into()),
        ("-1", (-1).into()),
        ("65535", 65535.into()),
        ("65536", 65536.into()),
        ("2**31 - 1", i32::MAX.into()),
        ("2**31", (1_i64 << 31).into()),
        ("-2**31 - 1", (-(1_i64 << 31) - 1).into()),
        ("2**64", (1_i128 << 64).into()),
        ("2**127 - 1", i128::MAX.into()),
        ("-2**127", i128::MIN.into()),
        ("1.5", 1.5.into()),
        ("-0.0", (-0.0).into()),
        ("float('inf')", f64::INFINITY.into()),
        ("float('-inf')", (-f64::INFINITY).into()),
        ("float('nan')", f64::NAN.into()),
        ("1e300", 1e300.into()),
        ("''", "".into()),
        ("'text'", text.clone()),
        (
            "'gr\\xfcn \\u20ac \\U0001f600 \\\\ \\\\u0041 \\0\\r\\n'",
            "grün € 😀 \\ \\u0041 \0\r\n".into(),
        ),
        ("'x' * 300", "x".repeat(300).into()),
        ("'\\xfc' * 40000", "ü".repeat(40000).into()),
        ("b''", b"".as_slice().into()),
        ("bytes(range(256))", Plain::Bytes((0..=255).collect())),
        ("b'x' * 100000", Plain::Bytes(vec![b'x'; 100_000])),
        ("bytearray()", b"".as_slice().into()),
        ("bytearray(b'\\xff' * 300)", Plain::Bytes(vec![255; 300])),
        ("[]", list(&[])),
        ("[1]", list(&[1.into()])),
        ("[[], [2]]", list(&[list(&[]), list(&[2.into()])])),
        ("list(range(2500))", list(&(0..2500).map(Plain::from).collect::<Vec<_>>())),
        ("()", tuple(&[])),
        ("(1,)", tuple(&[1.into()])),
        ("(1, 'text')", tuple(&[1.into(), text.clone()])),
        ("(1, 2, 3)", tuple(&[1.into(), 2.into(), 3.into()])),
        ("(1, 2, 3, ())", tuple(&[1.into(), 2.into(), 3.into(), tuple(&[])])),
        ("{}", dict(&[])),
        ("{1: 'text'}", dict(&[(1.into(), text.clone())])),
        (
            "{'b': {}, 'a': None, (1, 2): []}",
            dict(&[
                ("b".into(), dict(&[])),
                ("a".into(), ().into()),
                (tuple(&[1.into(), 2.into()]), list(&[])),
            ]),
        ),
        (
            "{n: str(n) for n in range(2500)}",
            dict(&(0..2500).map(|n: i32| (n.into(), n.to_string().into())).collect::<Vec<_>>()),
        ),
        ("set()", set(&[])),
        ("{1, 'text'}", set(&[1.into(), text.clone()])),
        ("set(range(2500))", set(&(0..2500).map(Plain::from).collect::<Vec<_>>())),
        ("frozenset([1])", set(&[1.into()])),
        ("{frozenset([1]): {2}}", dict(&[(set(&[1.into()]), set(&[2.into()]))])),
        (
            "{(frozenset(), 1), frozenset([frozenset()])}",
            set(&[tuple(&[set(&[]), 1.into()]), set(&[set(&[])])]),
        ),
        // The same list, and the same text, more than once.
        ("(lambda a: [a, a, (a, 'a' + 'b')] * 2)([1, 'ab'])", {
            let a = list(&[1.into(), "ab".into()]);
            let three = [a.clone(), a.clone(), tuple(&[a, "ab".into()])];
            list(&[three.as_slice(), &three].concat())
        }),
        ("__import__('collections').OrderedDict(a=1)", dict(&[("a".into(), 1.into())])),
    ]
}

/// Bytes from hexadecimal digits.
fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
        .collect()
}

/// Hexadecimal digits of bytes.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

#[test]
fn what_each_python_writes_in_each_protocol_is_read() {
    let _watchdog = watchdog("what_each_python_writes_in_each_protocol_is_read");
    let values = values();
    let program = format!(
        "import pickle\n\
         for value in [{}]:\n\
         \x20   for protocol in range(pickle.HIGHEST_PROTOCOL + 1):\n\
         \x20       for dumps in pickle.dumps, pickle._dumps:\n\
         \x20           print(dumps(value, protocol).hex())\n",
        values.iter().map(|(python, _)| *python).collect::<Vec<_>>().join(",\n")
    );
    for python in pythons() {
        let output = run_python(&python, &program);
        let lines: Vec<&str> = output.lines().collect();
        let python = python.display();
        let each = lines.len() / values.len();
        assert!(each >= 10, "five protocols in two ways");
        for ((expression, value), pickles) in values.iter().zip(lines.chunks(each)) {
            for (number, digits) in pickles.iter().enumerate() {
                let read = pickle::from_slice::<Plain>(&unhex(digits));
                let read = read.unwrap_or_else(|error| {
                    panic!("{expression} by protocol {} of {python}: {error}", number / 2)
                });
                assert_eq!(read, *value, "{expression} of {python}");
                assert_eq!(read.type_name(), value.type_name(), "{expression} of {python}");
            }
        }
    }
}

#[test]
fn each_python_reads_what_is_written() {
    let _watchdog = watchdog("each_python_reads_what_is_written");
    let mut program = "
import pickle

def check(value, digits):
    for loads in pickle.loads, pickle._loads:
        read = loads(bytes.fromhex(digits))
        if isinstance(value, dict):
            assert list(read) == list(value), (value, read)
        else:
            kind = {bytearray: bytes, frozenset: set}.get(type(value), type(value))
            assert type(read) is kind, (value, read)
        assert read == value or value != value and read != read, (value, read)

"
    .to_owned();
    for (expression, value) in values() {
        let digits = hex(&pickle::to_vec(&value).unwrap());
        writeln!(program, "check({expression}, '{digits}')").unwrap();
    }
    for python in pythons() {
        assert_eq!(run_python(&python, &program), "");
    }
}

/// Data that a test makes up.
fn anything() -> impl Strategy<Value = Plain> {
    let key = prop_oneof![
        Just(Plain::None),
        any::<bool>().prop_map(Plain::Bool),
        any::<i128>().prop_map(Plain::Int),
        any::<i64>().prop_map(Plain::from),
        any::<i8>().prop_map(|number| Plain::Int(number.into())),
        any::<f64>().prop_map(Plain::Float),
        any::<String>().prop_map(Plain::Text),
        any::<Vec<u8>>().prop_map(Plain::Bytes),
    ]
    .prop_recursive(3, 16, 4, |key| {
        let keys = prop::collection::vec(key, 0..4);
        prop_oneof![
            keys.clone().prop_map(Plain::Tuple),
            keys.prop_map(|items| Set::from_items(items).unwrap().into()),
        ]
    });
    key.clone().prop_recursive(5, 64, 8, move |value| {
        let pairs = prop::collection::vec((key.clone(), value.clone()), 0..8);
        let values = prop::collection::vec(value, 0..8);
        prop_oneof![
            values.clone().prop_map(Plain::List),
            values.prop_map(Plain::Tuple),
            pairs.prop_map(|pairs| Dict::from_pairs(pairs).unwrap().into()),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in anything()) {
        let read: Plain = pickle::from_slice(&pickle::to_vec(&value).unwrap()).unwrap();
        // Equal, and of the same types all the way down.
        assert_eq!(format!("{read:?}"), format!("{value:?}"));
        assert_eq!(read, value);
    }
}

/// Refused, for a reason that says this.
fn refused(pickle: &[u8], says: &str) {
    let error = pickle::from_slice::<Plain>(pickle).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deserialize);
    assert!(error.to_string().contains(says), "{}: {error}", pickle.escape_ascii());
}

#[test]
fn what_is_not_plain_data_is_refused_by_name() {
    refused(b"cos\nsystem\n(S'true'\ntR.", "os.system");
    refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system");
    refused(b"c__builtin__\neval\n(V1\ntR.", "__builtin__.eval");
    refused(b"cbuiltins\nset\n.", "type");
    refused(b"cbuiltins\nKeyError\n)R.", "KeyError");
    refused(b"(cbuiltins\nKeyError\n)Rl.", "KeyError");
    refused(b"cmultiprocessing.managers\nToken\n)\x81(V1\nV2\nV3\ntb.", "token");
    refused(b"cmultiprocessing.managers\nToken\n)\x81.", "no state");
    refused(b"c_codecs\nencode\n(V1\nVrot13\ntR.", "not made");
    refused(b"cbuiltins\nset\n(I1\ntR.", "not made");
    refused(b"cbuiltins\nbytearray\n(I1000000000000\ntR.", "not made");
    refused(b"Psomething\n.", "persistent");
    refused(b"S'text'\n.", "Python 2");
    refused(b"\x82\x01.", "registry");
    refused(b"\x97.", "buffer");
    refused(b"(idict\nX\n.", "class");
}

#[test]
fn what_is_in_itself_is_refused() {
    refused(b"]q\0h\0a.", "in itself");
    refused(b"(]q\0h\0tq\x01h\0h\x01a.", "in itself");
    refused(b"}q\0K\x01h\0s.", "in itself");
}

#[test]
fn wrong_pickles_are_errors_that_say_why() {
    refused(b"", "too early");
    refused(b".", "not there");
    refused(b"N", "too early");
    refused(b"N.NN", "2 bytes follow");
    refused(b"\x80\x06N.", "protocol 6");
    refused(b"\xff.", "0xff");
    refused(b"h\0.", "not made");
    refused(b"0.", "not there");
    refused(b"e.", "mark");
    refused(b"N(ae.", "not there");
    refused(b"](N0a.", "not there");
    refused(b"}(Nu.", "no value");
    refused(b"NNa.", "no list");
    refused(b"NNNs.", "no dict");
    refused(b"N(N\x90.", "no set");
    refused(b"NNb.", "state");
    refused(b"NN\x93.", "name is not text");
    refused(b"}]NSs.", "Python 2");
    refused(b"}]Ns.", "no key");
    refused(b"(]\x91.", "in a set");
    refused(b"\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "too early");
    refused(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffN.", "too early");
    refused(b"X\xff\xff\xff\xffN.", "too early");
    refused(b"\x8b\xff\xff\xff\xffN.", "too early");
    refused(b"\x8c\x01\xff.", "UTF-8");
    refused(b"\x8c\x03\xed\xa0\x80.", "surrogate");
    refused(b"V\\ud800\n.", "no character");
    refused(b"V\\u00\n.", "no character");
    refused(b"I12", "too early");
    refused(b"Ione\n.", "whole number");
    refused(b"Fone\n.", "number");
    refused(b"L170141183460469231731687303715884105728L\n.", "128 bits");
    refused(b"\x8a\x11\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80\0.", "136 bits");
}

#[test]
fn what_is_too_deep_is_refused() {
    let lists = |depth: usize| [vec![b']'; depth], vec![b'a'; depth - 1], b".".to_vec()].concat();
    assert!(pickle::from_slice::<Plain>(&lists(128)).is_ok());
    refused(&lists(129), "128 deep");
    refused(&lists(1_000_000), "128 deep");
    let tuples = [b")".to_vec(), vec![0x85; 1_000_000], b".".to_vec()].concat();
    refused(&tuples, "128 deep");
    let deep = (0..128).fold(Plain::None, |inner, _| Plain::List(vec![inner]));
    assert_eq!(pickle::to_vec(&deep).unwrap_err().kind(), ErrorKind::Serialize);
}

#[test]
fn a_few_bytes_do_not_become_many() {
    // Each list has the one before it in it ten times.
    let mut lists = b"]q\0(".to_vec();
    lists.extend_from_slice(b"NNNNNNNNNNe0");
    for place in 1..100 {
        lists.extend_from_slice(&[b']', b'q', place, b'(']);
        lists.extend_from_slice(&[b'h', place - 1].repeat(10));
        lists.extend_from_slice(b"e0");
    }
    lists.extend_from_slice(b"h\x63.");
    refused(&lists, "again and again");
    // A text again and again, and sets and bytes made of one list and one text.
    let text = |used: &[u8]| {
        let mut pickle = b"X\0\0\x01\0".to_vec();
        pickle.extend_from_slice(&vec![b'x'; 1 << 16]);
        pickle.extend_from_slice(b"q\x010(");
        pickle.extend_from_slice(&used.repeat(10_000));
        pickle.extend_from_slice(b"l.");
        pickle
    };
    refused(&text(b"h\x01"), "again and again");
    refused(&text(b"c_codecs\nencode\n(h\x01Vlatin1\ntR"), "again and again");
    let mut sets = b"(".to_vec();
    sets.extend_from_slice(&b"M\x01\x02".repeat(1 << 14));
    sets.extend_from_slice(b"lq\x010(");
    sets.extend_from_slice(&b"cbuiltins\nset\n(h\x01tR".repeat(10_000));
    sets.extend_from_slice(b"l.");
    refused(&sets, "again and again");
}

#[test]
fn what_is_shared_in_good_faith_is_read() {
    // A million times one text of 20 bytes, as Python has it.
    let mut pickle = b"\x80\x04](\x8c\x14xxxxxxxxxxxxxxxxxxxx\x94".to_vec();
    pickle.extend_from_slice(&b"h\0".repeat(1_000_000));
    pickle.extend_from_slice(b"e.");
    let read: Vec<String> = pickle::from_slice(&pickle).unwrap();
    assert_eq!(read.len(), 1_000_001);
}

#[test]
fn no_hostile_pickle_panics() {
    let _watchdog = watchdog("no_hostile_pickle_panics");
    let mut numbers = Numbers::new(0x6b69_6e66_6f6c_6b21);
    let mut number = |below| numbers.place(below);
    let good: Vec<Vec<u8>> =
        values().iter().map(|(_, value)| pickle::to_vec(value).unwrap()).collect();
    let steps = b".NIJKMLFGVX\x8c\x8d\x8eBCabcdeghjlpqrstu012()]}R\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8f\x90\x91\x93\x94\x95\x96";
    let mut whole = 0;
    for round in 0..200_000 {
        let mut pickle: Vec<u8> = if round % 2 == 0 {
            // A good one with bytes changed, cut and doubled.
            let mut pickle = good[number(good.len())].clone();
            pickle.truncate(200);
            for _ in 0..=number(3) {
                let place = number(pickle.len());
                match number(4) {
                    0 => pickle[place] = u8::try_from(number(256)).unwrap(),
                    1 => pickle[place] = steps[number(steps.len())],
                    2 => drop(pickle.drain(..place)),
                    _ => pickle.extend_from_within(place..),
                }
            }
            pickle
        } else {
            // Steps and small numbers.
            (0..number(40))
                .map(|_| {
                    if number(4) == 0 {
                        u8::try_from(number(4)).unwrap()
                    } else {
                        steps[number(steps.len())]
                    }
                })
                .collect()
        };
        pickle.push(b'.');
        whole += usize::from(pickle::from_slice::<Plain>(&pickle).is_ok());
    }
    assert!(whole > 1000, "{whole} of them are good");
}
