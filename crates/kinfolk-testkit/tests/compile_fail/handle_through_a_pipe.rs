//! Only the parent of a process may hold its handle.

fn main() {
    let (here, _there) = kinfolk::pipe::<kinfolk::Process<()>, ()>().unwrap();
    here.send(&kinfolk::Process::spawn(|()| (), ()).unwrap()).unwrap();
}
