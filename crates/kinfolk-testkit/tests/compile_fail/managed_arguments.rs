struct Names(Vec<String>);

#[kinfolk::managed]
impl Names {
    pub fn new() {}

    pub fn add(&mut self, name: &str, others: &[String], count: &u32) {
        let _ = (name, others, count);
    }

    pub fn swap(&mut self, name: &mut String) {
        self.0.push(std::mem::take(name));
    }

    pub fn add_all(&mut self, names: Vec<&str>) {
        self.0.extend(names.into_iter().map(str::to_owned));
    }

    pub fn add_static(&mut self, name: &'static str) {
        self.0.push(name.to_owned());
    }

    pub fn add_pair(&mut self, (first, second): (String, String)) {
        self.0.extend([first, second]);
    }
}

fn main() {}
