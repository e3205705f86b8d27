use heirloom::Heritable;

#[derive(Heritable)]
#[repr(C)]
struct Session {
    id: u64,
    what: std::thread::JoinHandle<()>,
}

fn main() {}
