use heirloom::Heritable;

#[derive(Heritable)]
#[repr(C)]
struct Session {
    id: u64,
    what: fn(u64) -> u64,
}

fn main() {}
