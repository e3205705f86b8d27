use std::collections::HashMap;

use proptest::prelude::*;

use super::{Interner, Symbol};
use crate::alloc::{fail_after, never_fail};
use crate::testing::panics;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 3 } else { 100 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn each_string_has_one_handle(numbers in prop::collection::vec(0..300_u16, 1..if cfg!(miri) { 30 } else { 600 })) {
        let mut pool = Interner::new();
        let mut known = HashMap::<std::string::String, Symbol>::new();
        for number in numbers {
            let text = "x".repeat(usize::from(number % 40)) + &number.to_string();
            prop_assert_eq!(pool.get(&text), known.get(&text).copied());
            let symbol = pool.intern(&text);
            prop_assert_eq!(*known.entry(text.clone()).or_insert(symbol), symbol);
            prop_assert_eq!(&pool[symbol], text.as_str());
            prop_assert_eq!(pool.len(), known.len());
            pool.table.check(Some(&|symbol: &Symbol| pool.seed.hash_bytes(pool[*symbol].as_bytes())));
        }
        prop_assert!(known.iter().all(|(text, &symbol)| pool.get(text) == Some(symbol)));
        prop_assert!(pool.iter().all(|(symbol, text)| known[text] == symbol));
    }
}

#[test]
fn a_full_heap_leaves_the_pool_unchanged() {
    let mut pool: Interner = ["a", "b", "c"].into_iter().collect();
    // A table of four is full with three, so the fourth string needs its block and a table.
    for allowed in 0..2 {
        fail_after(allowed);
        assert!(pool.try_intern("d").is_err());
        assert_eq!(pool.try_intern("a"), Ok(pool.get("a").unwrap()));
        never_fail();
        assert_eq!((pool.len(), pool.get("d"), pool.table.len()), (3, None, 3));
    }
    fail_after(0);
    assert!(Interner::new().try_intern("").is_err());
    never_fail();
    let symbol = pool.intern("d");
    assert_eq!((symbol.index(), &pool[symbol]), (3, "d"));
}

#[test]
fn a_handle_of_another_pool_is_told() {
    let mut pool = Interner::new();
    let symbol = pool.intern("");
    assert_eq!(pool.resolve(symbol), Some(""));
    assert_eq!(Interner::new().resolve(symbol), None);
    assert!(panics(|| assert_eq!(&Interner::new()[symbol], "")));
    assert_eq!(format!("{pool:?}"), r#"{0: ""}"#);
    assert!(Interner::new().get("").is_none());
}
