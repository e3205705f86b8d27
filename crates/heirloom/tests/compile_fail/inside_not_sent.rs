// Who is inside is a thread; the proof of it stays there.
fn main() {
    let heap = heirloom::Heap::inherit_or_create("heap", heirloom::Options::new()).unwrap();
    let inside = heap.enter();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(inside));
    });
}
