//! 10x Genomics `.h5` files: the `matrix` group of Cell Ranger 3 and later, and a group a genome before.

use std::path::Path;

use crate::{
    Dataset, Error, Feature, Kind, Matrix, Result,
    dataset::split_by_kind,
    h5ad::read_compressed,
    hdf::{Hdf, Node, guarded},
    names::check_unique,
};

/// Reads a 10x `.h5` file, features split into modalities by their type.
///
/// # Errors
/// Names the HDF5 path that is missing or damaged; an older file with several genomes is refused.
pub fn read_tenx_h5(path: &Path) -> Result<Dataset> {
    guarded(&path.display().to_string(), || read(&Hdf::open(path)?))
}

/// Reads a 10x `.h5` file held in memory; `file` names it in errors.
///
/// # Errors
/// As [`read_tenx_h5`].
pub fn read_tenx_h5_bytes(file: &str, bytes: Vec<u8>) -> Result<Dataset> {
    guarded(file, || read(&Hdf::from_bytes(file, bytes)?))
}

/// Groups at the root that look like a genome of a file before Cell Ranger 3.
pub(crate) fn genome_groups(hdf: &Hdf) -> Result<Vec<String>> {
    let mut genomes = hdf.children("")?;
    genomes
        .retain(|name| hdf.node(&format!("{name}/indptr")).is_some() && hdf.node(&format!("{name}/genes")).is_some());
    Ok(genomes)
}

fn read(hdf: &Hdf) -> Result<Dataset> {
    if hdf.node("matrix") == Some(Node::Group) {
        let ids = hdf.texts("matrix/features/id")?;
        let names = hdf.texts("matrix/features/name")?;
        let types = match hdf.node("matrix/features/feature_type") {
            Some(_) => Some(hdf.texts("matrix/features/feature_type")?),
            None => None,
        };
        return read_group(hdf, "matrix", ids, names, types);
    }
    match &genome_groups(hdf)?[..] {
        [] => Err(Error::file(hdf.name(), "is not a 10x file: it has neither a `matrix` group nor a group a genome")),
        [genome] => {
            let ids = hdf.texts(&format!("{genome}/genes"))?;
            let names = hdf.texts(&format!("{genome}/gene_names"))?;
            read_group(hdf, genome, ids, names, None)
        }
        several => {
            let problem =
                format!("holds several genomes ({}): write one of them to a file of its own", several.join(", "));
            Err(Error::file(hdf.name(), problem))
        }
    }
}

fn read_group(
    hdf: &Hdf,
    group: &str,
    ids: Vec<String>,
    names: Vec<String>,
    types: Option<Vec<String>>,
) -> Result<Dataset> {
    if names.len() != ids.len() || types.as_ref().is_some_and(|types| types.len() != ids.len()) {
        return Err(
            hdf.error(group, format!("has {} feature ids but {} names: the file is damaged", ids.len(), names.len()))
        );
    }
    let cells = hdf.texts(&format!("{group}/barcodes"))?;
    check_unique(hdf.name(), "cell", &cells)?;
    let shape = hdf.integers(&format!("{group}/shape"))?;
    if shape != [ids.len() as i64, cells.len() as i64] {
        let problem = format!("says {shape:?} but there are {} features and {} barcodes", ids.len(), cells.len());
        return Err(hdf.error(&format!("{group}/shape"), problem));
    }
    // Compressed columns of features x cells are the rows of cells x features.
    let matrix = read_compressed(hdf, group, (cells.len(), ids.len()))?;
    let kind = |at: usize| types.as_ref().map_or(Kind::Rna, |types| Kind::from_feature_type(&types[at]));
    let feature = |(at, (id, name)): (usize, (String, String))| Feature { id, name, kind: kind(at) };
    let features = ids.into_iter().zip(names).enumerate().map(feature).collect();
    let modalities = split_by_kind(Matrix::Sparse(matrix), features, None);
    Ok(Dataset { cells, modalities, obs: Vec::new(), notes: Vec::new() })
}
