use heirloom::Heritable;

#[derive(Heritable)]
struct Session {
    id: u64,
}

#[derive(Heritable)]
#[repr(C)]
union Bits {
    float: f32,
    integer: u32,
}

fn main() {}
