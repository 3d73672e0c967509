struct Counter(u64);

#[kinfolk::managed]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self(start)
    }

    fn private(&self) -> u64 {
        self.0
    }

    pub fn into_inner(self) -> u64 {
        self.0
    }

    pub fn convert<T: From<u64>>(&self) -> T {
        self.0.into()
    }

    pub async fn wait(&self) {}

    pub unsafe fn set(&mut self, value: u64) {
        self.0 = value;
    }

    pub fn version() -> u32 {
        1
    }

    pub fn borrow(&self) -> &u64 {
        &self.0
    }

    pub fn items(&self) -> impl Iterator<Item = u64> {
        0..self.0
    }
}

fn main() {}
