use heirloom::Heritable;

#[derive(Heritable)]
#[repr(C)]
struct Session {
    id: u64,
    what: std::sync::Mutex<u64>,
}

fn main() {}
