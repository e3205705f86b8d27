use heirloom::Heritable;

#[derive(Heritable)]
#[repr(C)]
struct Session {
    id: u64,
    what: std::rc::Rc<u64>,
}

fn main() {}
