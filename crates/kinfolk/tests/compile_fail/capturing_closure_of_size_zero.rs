//! A captured token must not be conjured in another process, though it has no byte.

struct Token(());

fn spend(_: &Token) {}

fn main() {
    let token = Token(());
    let _ = kinfolk::Process::spawn(|()| spend(&token), ());
    let Token(()) = token;
}
