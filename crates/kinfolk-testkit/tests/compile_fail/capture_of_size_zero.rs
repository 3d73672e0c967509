struct Token(());

fn main() {
    let token = Token(());
    let _ = kinfolk::Process::spawn(
        move |()| {
            let _ = &token;
        },
        (),
    );
}
