"""The operators of DiffBio that have a twin here, jitted, f32: the sum of the mean squares of the named outputs, and its
gradient with respect to every parameter. Usage: diffbio_tasks.py --task NAME --threads N [--reps N]

JAX takes as many threads as it may run on: pin the process (compare.py does)."""
import jax
import jax.numpy as jnp
import numpy as np
from diffbio.operators import epigenomics
from diffbio.operators.epigenomics.fno_peak_calling import FNOPeakCaller, FNOPeakCallerConfig
from flax import nnx

from common import run

RNG = np.random.default_rng(0)


def step(operator, data, outputs):
    """A step that waits for its results; the first call compiles."""
    structure, parameters, rest = nnx.split(operator, nnx.Param, ...)
    data = {name: jnp.asarray(values, jnp.float32) for name, values in data.items()}

    def loss(parameters, rest, data):
        merged = nnx.merge(structure, parameters, rest, copy=True)
        result = merged.apply(data, {}, None)[0]
        return sum(jnp.square(result[name]).mean() for name in outputs)

    function = jax.jit(jax.value_and_grad(loss))
    jax.block_until_ready(function(parameters, rest, data))
    return lambda: jax.block_until_ready(function(parameters, rest, data))


def coverage():
    return {"coverage": RNG.poisson(3.0, (64, 10_000))}


def peak(denoise=False):
    config = epigenomics.PeakCallerConfig(use_vae_denoising=denoise)
    outputs = ["peak_probabilities", "peak_summits", "peak_starts", "peak_ends"]
    operator = epigenomics.DifferentiablePeakCaller(config, rngs=nnx.Rngs(0))
    return step(operator, coverage(), outputs + ["vae_kl_loss"] * denoise)


def fno():
    operator = FNOPeakCaller(FNOPeakCallerConfig(), rngs=nnx.Rngs(0))
    return step(operator, coverage(), ["peak_probabilities", "peak_scores"])


def chromatin(cell_types=1):
    several = cell_types > 1
    config = epigenomics.ChromatinStateConfig(
        num_states=15, num_marks=10, use_cell_type_conditioning=several, num_cell_types=cell_types
    )
    data = {"histone_marks": RNG.standard_normal((10_000, 10))}
    if several:
        data["cell_type"] = RNG.dirichlet(np.ones(cell_types))
    operator = epigenomics.ChromatinStateAnnotator(config, rngs=nnx.Rngs(0))
    return step(operator, data, ["state_posteriors", "viterbi_path", "log_likelihood"] + ["gamma"] * several)


def contextual():
    config = epigenomics.ContextualEpigenomicsConfig(use_chromatin_guidance=True)
    data = {
        "sequence": np.eye(4)[RNG.integers(0, 4, (8, 512))],
        "tf_context": RNG.standard_normal((8, 8)),
        "chromatin_contacts": RNG.uniform(0, 1, (8, 512, 512)),
    }
    operator = epigenomics.ContextualEpigenomicsOperator(config, rngs=nnx.Rngs(0))
    return step(operator, data, ["logits", "chromatin_guidance_loss"])


run(
    {
        "peak": peak,
        "peak_vae": lambda: peak(denoise=True),
        "fno": fno,
        "chromatin": chromatin,
        "chromatin_cond": lambda: chromatin(cell_types=5),
        "contextual": contextual,
    }
)
