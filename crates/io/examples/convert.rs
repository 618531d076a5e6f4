//! Converts a file of any supported format to `.h5ad`: `convert INPUT OUTPUT.h5ad [PLACE..]`.

use std::{env, error::Error, path::Path};

use gradome_io::{ReadOptions, read, write_h5ad};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [input, output, places @ ..] = &arguments[..] else {
        return Err("usage: convert INPUT OUTPUT.h5ad [PLACE..]".into());
    };
    let options = ReadOptions { places: places.to_vec(), ..ReadOptions::default() };
    let data = read(Path::new(input), &options)?;
    for note in &data.notes {
        eprintln!("note: {note}");
    }
    let first = data.modalities.first().map(|modality| modality.name.as_str());
    write_h5ad(Path::new(output), &data, first)?;
    Ok(())
}
