//! Says what a file is: `inspect FILE`.

use std::{env, error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let file = env::args().nth(1).ok_or("usage: inspect FILE")?;
    print!("{}", gradome_io::inspect(Path::new(&file))?);
    Ok(())
}
