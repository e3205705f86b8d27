use heirloom::Heritable;

#[derive(Heritable)]
enum Level {
    Guest,
    Member,
}

#[derive(Heritable)]
enum Event {
    Start,
    Said(heirloom::String),
}

fn main() {}
