heirloom::root! {
    static SESSIONS: std::sync::Mutex<heirloom::Vec<u64>> = "sessions";
}

fn main() {}
