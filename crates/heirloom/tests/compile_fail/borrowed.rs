use heirloom::Heritable;

#[derive(Heritable)]
#[repr(C)]
struct Session {
    id: u64,
    what: std::cell::Cell<&'static u64>,
}

fn main() {}
