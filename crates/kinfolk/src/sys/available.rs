//! How much memory there is for more.

use std::fs;
use std::io;
use std::path::Path;

/// What needs no look.
const SMALL: usize = 1 << 20;

/// Checks that the system has this much memory left: it would rather end
/// processes than refuse any.
///
/// # Errors
///
/// If it has not. Where it does not tell, there is none.
pub(crate) fn check(size: usize) -> io::Result<()> {
    if size >= SMALL && left().is_some_and(|left| size as u64 > left) {
        return Err(rustix::io::Errno::NOMEM.into());
    }
    Ok(())
}

/// The bytes left for this process.
fn left() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |key: &str| number_after(&info, key);
    let machine = (kib("MemAvailable:")? + kib("SwapFree:").unwrap_or(0)).saturating_mul(1024);
    Some(group_left().map_or(machine, |group| group.min(machine)))
}

/// The bytes left in the control groups of this process.
fn group_left() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path = Path::new("/sys/fs/cgroup").join(own);
    path.ancestors().take_while(|path| path.starts_with("/sys/fs/cgroup")).filter_map(room).min()
}

/// The bytes left in a control group, with those of files that it can forget.
fn room(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat")?;
    let files: u64 =
        ["inactive_file ", "active_file "].iter().filter_map(|key| number_after(&stat, key)).sum();
    Some(limit.saturating_sub(used.saturating_sub(files)))
}

/// The number in the line that begins with `key`.
fn number_after(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}
