use heirloom::Heritable;

#[derive(Heritable)]
#[repr(C)]
struct Session {
    id: u64,
    what: heirloom::Box<dyn Fn() + 'static>,
}

fn main() {}
