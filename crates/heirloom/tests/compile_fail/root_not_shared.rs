// A root is a static: what it holds must be fit for many threads.
heirloom::root! {
    static COUNTS: heirloom::Vec<core::cell::Cell<u64>> = "counts";
}

fn main() {}
