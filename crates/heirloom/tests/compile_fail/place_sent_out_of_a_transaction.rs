// What a transaction gives out to be changed goes back before it ends: undone, the place would be written by two.
heirloom::root! {
    static COUNT: heirloom::sync::Mutex<u64> = "count";
}

fn main() {
    let heap = heirloom::Heap::inherit_or_create("heap", heirloom::Options::new()).unwrap();
    let inside = heap.enter();
    let mut count = COUNT.get(&inside).lock();
    let count = &mut *count;
    std::thread::scope(|scope| {
        let _ = heap.transact(|tx| {
            let place = tx.change(count)?;
            scope.spawn(move || *place += 1);
            Err::<(), _>(heirloom::TransactError::Outside)
        });
    });
}
