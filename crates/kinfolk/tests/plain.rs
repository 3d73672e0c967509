//! Plain data: what serde's types become, and how it compares.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use kinfolk::plain::{Dict, Set};
use kinfolk::{ErrorKind, Handle, Plain};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A dict of pairs.
fn dict<const N: usize>(pairs: [(Plain, Plain); N]) -> Plain {
    Dict::from_pairs(pairs).unwrap().into()
}

/// A set of items.
fn set<const N: usize>(items: [Plain; N]) -> Plain {
    Set::from_items(items).unwrap().into()
}

/// A tuple of items.
fn tuple<const N: usize>(items: [Plain; N]) -> Plain {
    Plain::Tuple(items.into())
}

/// The value becomes this data, and comes back.
fn both_ways<T>(value: T, expected: impl Into<Plain>)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let plain = Plain::from_value(&value).unwrap();
    let expected = expected.into();
    assert_eq!(plain, expected);
    assert_eq!(plain.type_name(), expected.type_name(), "{plain:?}");
    assert_eq!(plain.to_value::<T>().unwrap(), value);
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Unit;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Newtype(u8);

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Pair(u8, String);

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Struct {
    a: Option<bool>,
    b: Vec<Newtype>,
    #[serde(with = "serde_bytes")]
    c: Vec<u8>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Enum {
    Unit,
    Newtype(i8),
    Tuple(i8, f64),
    Struct { a: char },
}

#[test]
fn each_type_of_serde_becomes_its_data_and_comes_back() {
    both_ways((), ());
    both_ways(true, true);
    both_ways(-7_i8, -7);
    both_ways(u64::MAX, u64::MAX);
    both_ways(i128::MIN, i128::MIN);
    both_ways(u128::from(u64::MAX) + 1, i128::from(u64::MAX) + 1);
    both_ways(1.5_f32, 1.5);
    both_ways(f64::INFINITY, f64::INFINITY);
    both_ways('\u{fc}', "\u{fc}");
    both_ways("text".to_owned(), "text");
    both_ways(Some(3_u8), 3);
    both_ways(None::<u8>, ());
    both_ways(Unit, ());
    both_ways(Newtype(3), 3);
    both_ways(Pair(1, "one".into()), tuple([1.into(), "one".into()]));
    both_ways([1_u8, 2], tuple([1.into(), 2.into()]));
    both_ways(vec![1_u8, 2], vec![1.into(), 2.into()]);
    both_ways(BTreeSet::from(["a".to_owned()]), vec!["a".into()]);
    both_ways(HashMap::from([((1, 2), 3.5)]), dict([(tuple([1.into(), 2.into()]), 3.5.into())]));
    both_ways(
        Struct { a: None, b: vec![Newtype(1)], c: vec![0, 255] },
        dict([
            ("a".into(), ().into()),
            ("b".into(), vec![1.into()].into()),
            ("c".into(), [0_u8, 255].as_slice().into()),
        ]),
    );
    both_ways(Enum::Unit, "Unit");
    both_ways(Enum::Newtype(-1), dict([("Newtype".into(), (-1).into())]));
    both_ways(Enum::Tuple(1, 2.0), dict([("Tuple".into(), tuple([1.into(), 2.0.into()]))]));
    let inner = dict([("a".into(), "x".into())]);
    both_ways(Enum::Struct { a: 'x' }, dict([("Struct".into(), inner)]));
}

/// Data of all kinds.
fn all_kinds() -> Plain {
    let key = tuple([set([1.into(), "a".into()]), ().into(), 2.5.into()]);
    Plain::List(vec![
        Plain::None,
        true.into(),
        i128::MAX.into(),
        f64::NAN.into(),
        "text".into(),
        b"bytes\0".as_slice().into(),
        vec![vec![].into(), Plain::from("x")].into(),
        tuple([]),
        dict([(key, dict([])), (b"".as_slice().into(), set([]))]),
        set([tuple([1.into()]), false.into()]),
    ])
}

#[test]
fn plain_data_stays_what_it_is() {
    let all = all_kinds();
    assert_eq!(format!("{:?}", Plain::from_value(&all).unwrap()), format!("{all:?}"));
    assert_eq!(format!("{:?}", all.to_value::<Plain>().unwrap()), format!("{all:?}"));
    let inside = Some(BTreeMap::from([("here", all.clone())]));
    assert_eq!(Plain::from_value(&inside).unwrap(), dict([("here".into(), all.clone())]));
    let bytes = postcard::to_stdvec(&all).unwrap();
    let back: Plain = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(format!("{back:?}"), format!("{all:?}"));
}

#[test]
fn the_way_back_takes_one_sequence_for_another() {
    assert_eq!(tuple([1.into()]).to_value::<Vec<u8>>().unwrap(), [1]);
    assert_eq!(Plain::from(vec![1.into(), 2.into()]).to_value::<(u8, i8)>().unwrap(), (1, 2));
    assert_eq!(set([1.into()]).to_value::<BTreeSet<u8>>().unwrap(), BTreeSet::from([1]));
    assert_eq!(Plain::Bytes(vec![7]).to_value::<Vec<u32>>().unwrap(), [7]);
    assert_eq!(Plain::from("text").to_value::<&str>().unwrap(), "text");
    assert_eq!(Plain::from(3).to_value::<f64>().unwrap(), 3.0);
}

#[test]
fn data_of_another_type_is_an_error_that_says_which() {
    for (error, says) in [
        (Plain::from("text").to_value::<u8>().map(drop), "expected u8"),
        (Plain::from(256).to_value::<u8>().map(drop), "256"),
        (Plain::from(vec![1.into()]).to_value::<(u8, u8)>().map(drop), "tuple of size 2"),
        (tuple([1.into(), 2.into()]).to_value::<(u8,)>().map(drop), "expected 1 element"),
        (Plain::None.to_value::<Enum>().map(drop), "NoneType"),
        (Plain::from("Other").to_value::<Enum>().map(drop), "Other"),
        (dict([]).to_value::<Enum>().map(drop), "variant"),
        (dict([]).to_value::<Struct>().map(drop), "missing field"),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deserialize);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn what_is_not_plain_is_an_error_that_says_why() {
    let handle = Handle::from(std::fs::File::open("/dev/null").unwrap());
    for (error, says) in [
        (Plain::from_value(&u128::MAX), "127 bits"),
        (Plain::from_value(&handle), "handle"),
        (Plain::from_value(&BTreeMap::from([(vec![1], 2)])), "no key"),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Serialize);
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// Lists in each other.
fn nested(depth: usize) -> Plain {
    (1..depth).fold(Plain::List(Vec::new()), |inner, _| Plain::List(vec![inner]))
}

#[test]
fn values_may_be_128_deep() {
    let deep = nested(128);
    assert_eq!(Plain::from_value(&deep).unwrap(), deep);
    let bytes = postcard::to_stdvec(&deep).unwrap();
    assert_eq!(postcard::from_bytes::<Plain>(&bytes).unwrap(), deep);
    assert!(postcard::to_stdvec(&nested(129)).is_err());
    let error = Plain::from_value(&nested(129)).unwrap_err();
    assert!(error.to_string().contains("128 deep"), "{error}");
    assert_eq!(deep.to_value::<Plain>().unwrap(), deep);
    assert!(nested(129).to_value::<Plain>().is_err());
    // One list in the other, by a peer that counts to no end.
    let hostile: Vec<u8> = [6, 1].repeat(1 << 20);
    assert!(postcard::from_bytes::<Plain>(&hostile).is_err());
}

#[test]
fn a_hostile_length_allocates_nothing_and_is_an_error() {
    for kind in 4..=9 {
        let huge = [kind, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(postcard::from_bytes::<Plain>(&huge).is_err(), "{kind}");
    }
}

#[test]
fn a_list_as_a_key_is_refused_from_anywhere() {
    let list = Plain::List(Vec::new());
    let inside = tuple([list.clone()]);
    for key in [list, inside, dict([])] {
        assert!(!key.is_hashable());
        let error = Dict::new().insert(key.clone(), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(Set::new().insert(key.clone()).is_err());
        // A dict of one pair, and a set of one item, as a peer may send them.
        for kind in [8, 9] {
            let mut bytes = vec![kind, 1];
            bytes.extend(postcard::to_stdvec(&key).unwrap());
            bytes.push(0);
            assert!(postcard::from_bytes::<Plain>(&bytes).is_err());
        }
    }
}

#[test]
fn values_compare_as_in_python() {
    let large = 2_f64.powi(127);
    let equal: [(Plain, Plain); 8] = [
        (true.into(), 1.into()),
        (1.into(), 1.0.into()),
        (0.into(), (-0.0).into()),
        (f64::NAN.into(), (-f64::NAN).into()),
        (i128::MIN.into(), (-large).into()),
        (large.into(), large.into()),
        (tuple([1.into()]), tuple([true.into()])),
        (set([1.into(), "a".into()]), set(["a".into(), true.into()])),
    ];
    for (a, b) in equal {
        assert_eq!(a, b);
        let mut one = Set::new();
        assert!(one.insert(a).unwrap());
        assert!(!one.insert(b.clone()).unwrap(), "{b:?} has another hash");
    }
    let ab = dict([("a".into(), 1.into()), ("b".into(), 2.into())]);
    assert_eq!(ab, dict([("b".into(), 2.into()), ("a".into(), 1.into())]));
    let different: [(Plain, Plain); 6] = [
        (().into(), false.into()),
        ("a".into(), b"a".as_slice().into()),
        (tuple([]), vec![].into()),
        (i128::MAX.into(), large.into()),
        ((i128::from(i64::MAX)).into(), (i64::MAX as f64).into()),
        (0.5.into(), 0.into()),
    ];
    for (a, b) in different {
        assert_ne!(a, b);
    }
}

#[test]
fn data_reads_as_in_python() {
    let dict = dict([("a".into(), vec![1.into(), 2.5.into()].into()), (().into(), set([]))]);
    for (data, text) in [
        (dict, "{'a': [1, 2.5], None: set()}"),
        (tuple([true.into()]), "(True,)"),
        (tuple([]), "()"),
        (set(["it's".into()]), "{\"it's\"}"),
        ("a\n\0\\ü'\"".into(), "'a\\n\\x00\\\\ü\\'\"'"),
        (b"a\xff'".as_slice().into(), "b\"a\\xff'\""),
        (1.0.into(), "1.0"),
        ((-0.0).into(), "-0.0"),
        (1e16.into(), "1e+16"),
        (1.5e-7.into(), "1.5e-07"),
        (0.0001.into(), "0.0001"),
        (123_456_789_012_345.0.into(), "123456789012345.0"),
        (1e300.into(), "1e+300"),
        (f64::NAN.into(), "nan"),
        (f64::NEG_INFINITY.into(), "-inf"),
    ] {
        assert_eq!(data.to_string(), text);
    }
}
