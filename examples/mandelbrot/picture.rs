//! The picture as a file.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

/// Writes a PNG of a byte of grey for each point.
pub(crate) fn write(
    path: &Path,
    width: u32,
    height: u32,
    shades: &[u8],
) -> Result<(), Box<dyn Error>> {
    let file = File::create(path).map_err(|error| format!("{path:?}: {error}"))?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(shades)?;
    writer.finish()?;
    Ok(())
}
