//! An argument is made anew in the child, so it cannot borrow from the parent.

fn length(text: &'static str) -> usize {
    text.len()
}

fn main() {
    let _ = kinfolk::Process::spawn(length, "text");
}
