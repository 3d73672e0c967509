//! The authentication key cannot be serialised.

fn main() {
    let (here, _there) = kinfolk::pipe::<kinfolk::AuthKey, ()>().unwrap();
    here.send(&kinfolk::current_process().authkey()).unwrap();
}
