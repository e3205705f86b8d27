use heirloom::Heritable;

#[derive(Heritable)]
#[repr(C)]
struct Session {
    id: u64,
    what: std::sync::Arc<u64>,
}

fn main() {}
