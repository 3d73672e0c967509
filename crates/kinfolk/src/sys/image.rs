//! The program's main image: which it is, and where its code stands.
#![allow(unsafe_code)] // The loader's tables are read in place.

use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// The program's main image as it is loaded in this process.
#[derive(Debug)]
pub(crate) struct Image {
    /// Where it is loaded.
    base: usize,
    /// Where its code stands.
    text: Vec<Range<usize>>,
    /// Which build it is.
    identity: ImageIdentity,
}

/// What tells two builds apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ImageIdentity {
    /// The build id that the linker wrote.
    BuildId(Vec<u8>),
    /// Without one: the file itself, by device and inode.
    File(u64, u64),
}

/// The main image of this process.
pub(crate) fn main_image() -> io::Result<&'static Image> {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    if let Some(image) = IMAGE.get() {
        return Ok(image);
    }
    let image = read()?;
    Ok(IMAGE.get_or_init(|| image))
}

impl Image {
    /// Which build it is.
    pub(crate) fn identity(&self) -> ImageIdentity {
        self.identity.clone()
    }

    /// The offset of a piece of code; `None` if it is not this image's.
    pub(crate) fn offset_of(&self, address: usize) -> Option<u64> {
        let inside = self.text.iter().any(|range| range.contains(&address));
        inside.then(|| (address - self.base) as u64)
    }

    /// The address of the code at `offset`; `None` if there is none.
    pub(crate) fn address_of(&self, offset: u64) -> Option<usize> {
        let address = self.base.checked_add(usize::try_from(offset).ok()?)?;
        self.text.iter().any(|range| range.contains(&address)).then_some(address)
    }
}

/// What the loader told of the main image.
#[derive(Default)]
struct Loaded {
    /// Where it is loaded.
    base: usize,
    /// Where its code stands.
    text: Vec<Range<usize>>,
    /// Its build id.
    build_id: Option<Vec<u8>>,
}

/// Reads the loader's tables.
fn read() -> io::Result<Image> {
    let mut loaded = Loaded::default();
    // SAFETY: `first` gets the pointer to `loaded` back, and is called only
    // during this call.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut loaded).cast()) };
    let identity = match loaded.build_id {
        Some(id) => ImageIdentity::BuildId(id),
        None => {
            let file = std::fs::metadata("/proc/self/exe")?;
            ImageIdentity::File(file.dev(), file.ino())
        }
    };
    Ok(Image { base: loaded.base, text: loaded.text, identity })
}

/// Takes down the first image, which is the main one, and stops.
unsafe extern "C" fn first(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    loaded: *mut libc::c_void,
) -> i32 {
    // SAFETY: `read` passed a `Loaded` that lives through the iteration.
    let loaded = unsafe { &mut *loaded.cast::<Loaded>() };
    // SAFETY: the loader passes a valid entry for the length of this call.
    let info = unsafe { &*info };
    loaded.base = info.dlpi_addr as usize;
    // SAFETY: the entry names the image's program headers, mapped with it.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    for header in headers {
        let start = loaded.base + header.p_vaddr as usize;
        let size = header.p_memsz as usize;
        match header.p_type {
            libc::PT_LOAD if header.p_flags & libc::PF_X != 0 => {
                loaded.text.push(start..start + size);
            }
            libc::PT_NOTE if loaded.build_id.is_none() => {
                // SAFETY: a note segment of a loaded image is mapped as a whole.
                let notes = unsafe { std::slice::from_raw_parts(start as *const u8, size) };
                loaded.build_id = build_id(notes);
            }
            _ => {}
        }
    }
    1
}

/// Finds the build id among an image's notes: sizes of name and description, a
/// type, then both, each padded to four bytes.
fn build_id(mut notes: &[u8]) -> Option<Vec<u8>> {
    const GNU_BUILD_ID: u32 = 3;
    loop {
        let (head, rest) = notes.split_at_checked(12)?;
        let word = |at: usize| head[at..at + 4].try_into().map(u32::from_ne_bytes).unwrap_or(0);
        let (name_size, size) = (word(0) as usize, word(4) as usize);
        let (name, rest) = rest.split_at_checked(name_size.checked_next_multiple_of(4)?)?;
        let description = rest.get(..size)?;
        if word(8) == GNU_BUILD_ID && name == b"GNU\0" && size > 0 {
            return Some(description.to_vec());
        }
        notes = rest.get(size.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::{build_id, main_image};

    #[test]
    fn an_offset_leads_back_to_the_function() {
        let image = main_image().unwrap();
        let address = an_offset_leads_back_to_the_function as fn() as usize;
        let offset = image.offset_of(address).unwrap();
        assert_eq!(image.address_of(offset), Some(address));
    }

    #[test]
    fn addresses_outside_the_code_are_refused() {
        let image = main_image().unwrap();
        let local = 0_u8;
        assert_eq!(image.offset_of(&raw const local as usize), None);
        assert_eq!(image.offset_of(libc::getpid as unsafe extern "C" fn() -> i32 as usize), None);
        assert_eq!(image.address_of(u64::MAX), None);
        assert_eq!(image.address_of(1 << 40), None);
    }

    #[test]
    fn a_build_id_is_found_behind_another_note() {
        let mut notes = Vec::new();
        for (kind, name, text) in [(1_u32, b"GNU\0", &b"abcde"[..]), (3, b"GNU\0", b"id")] {
            notes.extend(4_u32.to_ne_bytes());
            notes.extend((text.len() as u32).to_ne_bytes());
            notes.extend(kind.to_ne_bytes());
            notes.extend(name);
            notes.extend(text);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(build_id(&notes), Some(b"id".to_vec()));
        assert_eq!(build_id(&notes[..20]), None);
    }
}
