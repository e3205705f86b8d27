use heirloom::Heritable;

#[derive(Heritable)]
#[repr(C)]
struct Session {
    id: u64,
    what: Result<u64, u8>,
}

fn main() {}
