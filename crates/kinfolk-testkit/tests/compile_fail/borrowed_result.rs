//! A result is made anew in the parent, so it cannot borrow from the child.

fn name(_: ()) -> &'static [u32] {
    &[1, 2]
}

fn main() {
    let _ = kinfolk::Process::spawn(name, ());
}
