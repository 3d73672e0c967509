//! What is shared is copied as bytes: it owns nothing and points to nothing.

fn main() {
    let _ = kinfolk::RawValue::<String>::new(String::new());
    let _ = kinfolk::RawValue::<bool>::new(true);
    let _ = kinfolk::RawArray::<&'static u8>::new(3);
}
