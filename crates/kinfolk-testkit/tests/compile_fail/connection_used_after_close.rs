//! A closed connection has no end any more.

fn main() {
    let (here, _there) = kinfolk::pipe::<u8, ()>().unwrap();
    here.close();
    here.send(&1).unwrap();
}
