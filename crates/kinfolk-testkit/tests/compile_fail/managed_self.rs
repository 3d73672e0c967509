struct Names(Vec<String>);

#[kinfolk::managed]
impl Names {
    pub fn new() -> Result<Self, String> {
        Ok(Self(Vec::new()))
    }

    pub fn add_all(&mut self, names: &Self) {
        self.0.extend(names.0.iter().cloned());
    }

    pub fn add_each(&mut self, names: Vec<Self>) {
        self.0.extend(names.into_iter().flat_map(|names| names.0));
    }

    pub fn add_some(&mut self, names: &[Self]) {
        self.0.extend(names.iter().flat_map(|names| names.0.iter().cloned()));
    }

    pub fn first(&self) -> Option<Self> {
        self.0.first().map(|name| Self(vec![name.clone()]))
    }
}

fn main() {}
