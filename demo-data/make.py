"""Makes pbmc_cite_seq.h5ad, the data of `gradome demo`.

    pip download --no-deps --no-binary :all: scvi-tools==1.4.2
    tar xzf scvi_tools-1.4.2.tar.gz
    python make.py scvi_tools-1.4.2/tests/test_data

Made with anndata 0.12.19, scanpy 1.11.5 and scikit-misc 0.5.3. The two files hold 200 cells each of 10x
PBMC CITE-seq experiments. Kept are all cells, all 29 proteins (NaN where the batch did not measure one) and
the 1,000 genes that vary most by scanpy's batch-aware seurat_v3 rule among those that both files have.
"""

import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scanpy
import scipy.sparse

GENES = 1000
HERE = Path(__file__).parent
source = Path(sys.argv[1])

batches = {
    name: anndata.read_h5ad(source / f"pbmc_{name}_protein_v3.h5ad") for name in ("5k", "10k")
}
proteins = list(batches["5k"].uns["protein_names"])
assert set(batches["10k"].uns["protein_names"]) <= set(proteins)

measured = []
for name, batch in batches.items():
    table = pd.DataFrame(
        batch.obsm["protein_expression"], columns=batch.uns["protein_names"], index=batch.obs_names
    )
    measured.append(table.reindex(columns=proteins).to_numpy(np.float32))

# Two barcodes occur in both experiments, so each carries its batch.
both = anndata.concat(batches, label="batch", join="inner", index_unique="-")
assert both.obs_names.is_unique and (both.X == np.round(both.X)).all()
total = both.X.sum(axis=1, dtype=np.float64)
both.X = both.X.astype(np.float64)
chosen = scanpy.pp.highly_variable_genes(
    both, n_top_genes=GENES, flavor="seurat_v3", batch_key="batch", inplace=False
).highly_variable.to_numpy()

demo = anndata.AnnData(
    scipy.sparse.csr_matrix(both.X[:, chosen].astype(np.uint16)),
    obs=pd.DataFrame(
        {"batch": pd.Categorical(both.obs["batch"]), "total_counts": total.astype(np.int32)},
        index=both.obs_names,
    ),
    var=pd.DataFrame(index=both.var_names[chosen]),
    obsm={"protein_expression": np.concatenate(measured)},
    uns={"protein_names": np.array(proteins, dtype=object)},
)
demo.write_h5ad(HERE / "pbmc_cite_seq.h5ad", compression="gzip", compression_opts=9)
print(demo, (HERE / "pbmc_cite_seq.h5ad").stat().st_size, "bytes")
