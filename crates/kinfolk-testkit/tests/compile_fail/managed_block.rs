struct Stack<T>(Vec<T>);

#[kinfolk::managed]
impl<T> Stack<T> {
    pub fn new() -> Self {
        Self(Vec::new())
    }
}

#[kinfolk::managed]
impl Stack<u8> {
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[kinfolk::managed]
impl Clone for Stack<u8> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[kinfolk::managed]
struct Empty;

#[kinfolk::managed(shared)]
impl Empty {}

fn main() {}
