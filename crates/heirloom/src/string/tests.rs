use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};

use heirloom_abi::types::{TypeDesc, first_difference, flat_len, flatten};

use super::String;
use crate::alloc::{fail_after, never_fail};
use crate::{ByteString, Heritable, Vec};

#[test]
fn text_grows_and_shrinks_by_whole_characters() {
    let mut text = String::from("naïve");
    text.push('é');
    text.push_str(" 猫");
    text.insert(0, '¡');
    text.insert_str(2, "so ");
    assert_eq!(text, "¡so naïveé 猫");
    assert_eq!(text.pop(), Some('猫'));
    assert_eq!(text.remove(0), '¡');
    assert_eq!(text.split_off(3), "naïveé ");
    text.retain(|c| c != 'o');
    assert_eq!(text, "s ");
    text.truncate(1);
    assert_eq!((text.len(), text.as_str()), (1, "s"));
    text.clear();
    assert!(text.is_empty() && text.pop().is_none() && text.capacity() > 0);
}

#[test]
fn it_prints_compares_and_hashes_like_a_str() {
    let hash = |job: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        job(&mut hasher);
        hasher.finish()
    };
    let text = String::from("abc");
    assert_eq!(hash(&|h| text.hash(h)), hash(&|h| "abc".hash(h)));
    assert_eq!(format!("{text:>5}|{text:?}"), "  abc|\"abc\"");
    let (more, stds) = (String::from("abd"), std::string::String::from("abc"));
    assert!(text < more && "abc" == text && text == stds);
    let mut written = String::new();
    write!(written, "{}-{}", 1, 2).unwrap();
    assert_eq!(written + "!", "1-2!");
    assert_eq!(["a", "b"].into_iter().collect::<String>(), "ab");
    assert_eq!("猫b".chars().rev().collect::<String>(), "b猫");
}

#[test]
fn foreign_bytes_are_checked() {
    assert_eq!(String::from_utf8(Vec::from([0x61])).unwrap(), "a");
    assert!(String::from_utf8(Vec::from([0xff])).is_err() && String::from_utf8([0xff]).is_err());
}

#[test]
#[should_panic(expected = "not the start of a character")]
fn a_character_is_not_split() {
    String::from("é").insert(1, 'x');
}

#[test]
fn a_full_heap_leaves_the_text_unchanged() {
    let before = "0123456789abcdef".repeat(3);
    let mut text = String::from(before.as_str());
    assert_eq!(text.capacity(), 48);
    fail_after(0);
    let outcomes = [text.try_push('x'), text.try_insert_str(3, "y"), text.try_reserve(9)];
    let copy = String::try_from_str(&before);
    let written = write!(text, "w");
    let short = String::from("needs no memory");
    never_fail();
    assert!(outcomes.iter().all(Result::is_err) && copy.is_err() && written.is_err());
    assert_eq!(text, before);
    assert!(short.is_inline() && !text.is_inline());
}

#[test]
fn a_range_is_replaced() {
    let mut text = String::from("naïve");
    text.replace_range(2..4, "i");
    assert_eq!(text, "naive");
    text.replace_range(.., "a text that is too long to lie in the string");
    text.replace_range(text.len() - 6.., "heap");
    assert_eq!(text, "a text that is too long to lie in the heap");
}

#[test]
fn text_changes_hands_without_a_copy() {
    let text = String::from("a text that is too long to lie in the string");
    let start = text.as_ptr();
    let bytes = text.into_bytes();
    assert_eq!(bytes.as_ptr(), start);
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(ByteString::from(text).as_ptr(), start);
    assert_eq!(String::from("short").into_bytes(), b"short");
}

/// A heap whose strings are vectors is refused by name and version, before anything in it is read.
#[test]
fn version_1_is_refused() {
    const V1: &TypeDesc = &TypeDesc::collection("String", 1, 24, 8, &[]);
    static OLD: [u8; flat_len(V1)] = flatten(V1);
    static NEW: [u8; flat_len(String::TYPE)] = flatten(String::TYPE);
    let difference = first_difference(&OLD, &NEW).unwrap().expect("the versions differ");
    assert!(difference.to_string().contains("version"), "{difference}");
}
