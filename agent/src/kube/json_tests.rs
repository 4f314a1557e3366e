//! Lists and lines, in pieces of every length.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Parts of a list that comes in pieces of this length, in words, and whether it was one.
fn parts(list: &[u8], piece: usize, item_max: usize) -> (Vec<String>, bool) {
    let (mut items, mut parts) = (Items::new(item_max), Vec::new());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut ok = true;
    for piece in list.chunks(piece.max(1)) {
        let mut put = |part: Part<'_>| {
            parts.push(match part {
                Part::Item(item) => format!("item {}", text(item)),
                Part::TooLarge(head) => format!("too large {}", text(head).len()),
                Part::Metadata(metadata) => format!("metadata {}", text(metadata)),
            });
        };
        ok = ok && items.take(piece, &mut put).is_ok();
    }
    (parts, ok && items.finish().is_ok())
}

#[test]
fn a_list_is_cut_into_its_items() {
    let list = br#" { "kind" : "PodList", "metadata": {"resourceVersion":"7","a":["]}"]} ,
        "x": [1, {"items": [8]}], "items" : [ {"a": "\"}]\\"} ,[2,[]],null, 3 ], "y": -1e5 } "#;
    for piece in 1..=list.len() {
        let (parts, whole) = parts(list, piece, 1_000);
        let expected = [
            r#"metadata {"resourceVersion":"7","a":["]}"]}"#,
            r#"item {"a": "\"}]\\"}"#,
            "item [2,[]]",
            "item null",
            "item 3",
        ];
        assert_eq!(parts, expected, "in pieces of {piece}");
        assert!(whole, "in pieces of {piece}");
    }
}

#[test]
fn no_items_are_an_empty_list_and_no_list_is_none() {
    for list in [r#"{"items":null}"#, r#"{"items":[]}"#, "{\"items\": [ ] }\n"] {
        assert_eq!(parts(list.as_bytes(), 3, 10), (vec![], true), "{list}");
    }
    for other in [
        "",
        "{}",
        "[]",
        "null",
        "<html>",
        r#"{"kind":"Status"}"#,
        r#"{"items":{}}"#,
        r#"{"items":"x"}"#,
        r#"{"items":[}"#,
        r#"{"items":[:"#,
        r#"{"items":}"#,
        r#"{"items":[1]"#,
        r#"{"items":[1]}}"#,
        r#"{"items":[],}x"#,
        r#"{"items""#,
        r#"{"metadata":]"#,
        r#"{"items":nul}"#,
    ] {
        assert!(!parts(other.as_bytes(), 2, 10).1, "{other}");
    }
}

#[test]
fn an_item_over_the_limit_costs_itself_and_no_room() {
    let large = format!(r#"{{"metadata":{{"uid":"u"}},"x":"{}"}}"#, "x".repeat(3 << 20));
    let list = format!(r#"{{"items":[1,{large},{{"b":2}}]}}"#);
    let mut items = Items::new(1 << 20);
    let (mut seen, mut most) = (Vec::new(), 0);
    for piece in list.as_bytes().chunks(9_973) {
        let mut put = |part: Part<'_>| {
            seen.push(match part {
                Part::Item(item) => String::from_utf8_lossy(item).into_owned(),
                Part::TooLarge(head) => {
                    let uid = member(member(head, "metadata").unwrap(), "uid").unwrap();
                    format!("{} of {}", String::from_utf8_lossy(uid), head.len())
                }
                Part::Metadata(_) => "metadata".to_owned(),
            });
        };
        items.take(piece, &mut put).unwrap();
        most = most.max(items.held.bytes.capacity());
    }
    assert_eq!(seen, ["1".to_owned(), format!("\"u\" of {HEAD_MAX}"), r#"{"b":2}"#.to_owned()]);
    assert!(most <= 2 << 20, "{most} bytes were held");
    assert!(items.held.bytes.capacity() <= HEAD_MAX, "and not kept");
}

#[test]
fn members_are_found_in_what_is_cut_off() {
    let item =
        br#"{"kind":"Pod","metadata":{"name":"web","labels":{"uid":"no"},"uid":"u1"},"spec":{"#;
    let metadata = member(item, "metadata").unwrap();
    assert_eq!(member(metadata, "uid"), Some(&b"\"u1\""[..]));
    assert_eq!(member(metadata, "name"), Some(&b"\"web\""[..]));
    assert_eq!(member(metadata, "namespace"), None);
    assert_eq!(member(item, "spec"), Some(&b"{"[..]));
    for broken in ["", "{", "[]", "{\"a\"", "{\"a\":", "{a", "{\"a\":}", "null", "{\"a\":,"] {
        assert_eq!(member(broken.as_bytes(), "a"), None, "{broken}");
    }
}

#[test]
fn lines_have_a_limit_too() {
    let text = format!("one\n\ntwo\n{}\nthree\nfour", "x".repeat(100_000));
    for piece in [1, 7, 4096, text.len()] {
        let (mut lines, mut seen, mut most) = (Lines::new(50_000), Vec::new(), 0);
        for piece in text.as_bytes().chunks(piece) {
            lines.take(piece, |line| {
                seen.push(match line {
                    Ok(line) => String::from_utf8_lossy(line).into_owned(),
                    Err(head) => format!("too long: {}", head.len()),
                });
            });
            most = most.max(lines.0.bytes.capacity());
        }
        assert_eq!(seen, ["one", "two", &format!("too long: {HEAD_MAX}"), "three"], "{piece}");
        assert!(most <= 100_000, "{most}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_item_comes_out_as_it_went_in(
        items in prop::collection::vec(any_json(), 0..6), other in any_json(), piece in 1_usize..40,
    ) {
        let list = json!({"a": other, "items": items, "metadata": {"continue": "x"}});
        let (parts, whole) = parts(list.to_string().as_bytes(), piece, usize::MAX);
        let mut expected: Vec<_> = items.iter().map(|item| format!("item {item}")).collect();
        expected.push(r#"metadata {"continue":"x"}"#.to_owned());
        prop_assert!(whole);
        prop_assert_eq!(parts, expected);
    }

    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(
        prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\ nitems".to_vec())], 0..200,
    ), piece in 1_usize..40) {
        let _ = parts(&bytes, piece, 50);
        let mut with_items = b"{\"items\":[".to_vec();
        with_items.extend(&bytes);
        let _ = parts(&with_items, piece, 50);
        let _ = member(&bytes, "a");
    }
}
