"""Makes the reference numbers of variable features with scanpy (flavor seurat_v3).

Run with scanpy 1.11.5 and scikit-misc 0.5.3:
    python variable_features.py [FOLDER WITH pbmc_5k_protein_v3.h5ad AND pbmc_10k_protein_v3.h5ad]
Writes variable_features.tsv (made counts) and, with the folder, pbmc_variable_genes.txt beside it.
"""

import sys
from pathlib import Path

import anndata
import numpy as np
import scanpy

HERE = Path(__file__).parent
CELLS, GENES, TOP = 240, 300, 60


def made_counts():
    """Skewed counts from a 64-bit linear congruential generator, in whole numbers only."""
    state, counts = 1, np.zeros((CELLS, GENES), dtype=np.float64)
    for cell in range(CELLS):
        for gene in range(GENES):
            draws = []
            for _ in range(2):
                state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
                draws.append(state >> 48)
            scale = 1 + gene * gene // 40
            if gene % 10 == 0 and cell % 3 == 0:
                scale *= 6
            counts[cell, gene] = (draws[0] * draws[1] * scale) >> 33
    return counts


def variable(data, batch):
    return scanpy.pp.highly_variable_genes(
        data, n_top_genes=TOP, flavor="seurat_v3", batch_key=batch, inplace=False
    )


data = anndata.AnnData(made_counts())
data.obs["batch"] = ["b" if cell % 5 < 2 else "a" for cell in range(CELLS)]
one, two = variable(data, None), variable(data, "batch")
with open(HERE / "variable_features.tsv", "w") as out:
    print("variance", "chosen", "batch_variance", "batch_rank", "batch_count", "batch_chosen", sep="\t", file=out)
    for (_, a), (_, b) in zip(one.iterrows(), two.iterrows()):
        print(
            repr(float(a.variances_norm)),
            int(a.highly_variable),
            repr(float(b.variances_norm)),
            float(b.highly_variable_rank),
            int(b.highly_variable_nbatches),
            int(b.highly_variable),
            sep="\t",
            file=out,
        )

if len(sys.argv) > 1:
    TOP = 1000
    batches = {
        name: anndata.read_h5ad(Path(sys.argv[1]) / f"pbmc_{name}_protein_v3.h5ad")
        for name in ("5k", "10k")
    }
    both = anndata.concat(batches, label="batch", join="inner")
    both.X = both.X.astype(np.float64)
    chosen = variable(both, "batch").query("highly_variable").index
    (HERE / "pbmc_variable_genes.txt").write_text("\n".join(sorted(chosen)) + "\n")
