use heirloom::Heritable;

#[derive(Heritable)]
#[repr(C)]
struct Session {
    id: u64,
    what: Box<dyn std::fmt::Debug>,
}

fn main() {}
