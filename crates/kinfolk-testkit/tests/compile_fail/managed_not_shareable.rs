use std::cell::Cell;

struct Counter(Cell<u64>);

#[kinfolk::managed]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self(Cell::new(start))
    }

    pub fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }
}

fn main() {}
