// A place is the transaction's until it ends, and its owner's afterwards.
heirloom::root! {
    static PAIR: heirloom::sync::Mutex<[u64; 2]> = "pair";
}

fn main() {
    let heap = heirloom::Heap::inherit_or_create("heap", heirloom::Options::new()).unwrap();
    let inside = heap.enter();
    let mut pair = PAIR.get(&inside).lock();
    let [one, other] = &mut *pair;
    let mut kept = None;
    let _ = heap.transact(|tx| {
        kept = Some(tx.change(one)?);
        // Nor one that does not live as long.
        let mut short = 7;
        tx.set(&mut short, 8)?;
        tx.set(other, 8)
    });
    println!("{kept:?}");
}
