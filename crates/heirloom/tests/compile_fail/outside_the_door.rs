// A reference into the heap ends when its thread leaves.
heirloom::root! {
    static COUNT: core::sync::atomic::AtomicU64 = "count";
}

fn main() {
    let heap = heirloom::Heap::inherit_or_create("heap", heirloom::Options::new()).unwrap();
    let count = {
        let inside = heap.enter();
        COUNT.get(&inside)
    };
    println!("{count:?}");
}
