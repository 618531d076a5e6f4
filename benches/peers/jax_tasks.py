"""The tasks in JAX, jitted, f32; value and gradient. Usage: jax_tasks.py --task NAME --threads N [--reps N]

JAX takes as many threads as it may run on: pin the process (compare.py does)."""
import jax
import jax.numpy as jnp
from jax import lax, nn

from common import run

KEY = jax.random.key(0)


def normal(*shape):
    return jax.random.normal(jax.random.fold_in(KEY, sum(shape)), shape)


def compiled(function, *arguments):
    """A step that waits for its results; the first call compiles."""
    function = jax.jit(function)
    jax.block_until_ready(arguments)
    jax.block_until_ready(function(*arguments))
    return lambda: jax.block_until_ready(function(*arguments))


def gemm():
    return compiled(lambda a, b: a @ b, normal(1024, 1024), normal(1024, 1024))


def linear(layer, x):
    weight, bias = layer
    return x @ weight + bias


def vae_loss(p, x, noise):
    h = nn.relu(linear(p["encoder.1"], nn.relu(linear(p["encoder.0"], x))))
    mean, log_variance = linear(p["mean"], h), linear(p["log_variance"], h)
    z = mean + jnp.exp(0.5 * log_variance) * noise
    h = nn.relu(linear(p["decoder.1"], nn.relu(linear(p["decoder.0"], z))))
    error = ((linear(p["decoder.2"], h) - x) ** 2).sum(1).mean()
    return error - 0.5 * (1 + log_variance - mean**2 - jnp.exp(log_variance)).sum(1).mean()


def vae():
    sizes = {
        "encoder.0": (2000, 256),
        "encoder.1": (256, 256),
        "mean": (256, 16),
        "log_variance": (256, 16),
        "decoder.0": (16, 256),
        "decoder.1": (256, 256),
        "decoder.2": (256, 2000),
    }
    parameters = {name: (0.02 * normal(*size), jnp.zeros(size[1])) for name, size in sizes.items()}
    zeros = jax.tree.map(jnp.zeros_like, parameters)

    def adam(p, m, v, count, x, noise):
        loss, g = jax.value_and_grad(vae_loss)(p, x, noise)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate, root = 1e-3 / (1 - 0.9**count), jnp.sqrt(1 - 0.999**count)
        p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + 1e-8), p, m, v)
        return p, m, v, loss

    return compiled(adam, parameters, zeros, zeros, jnp.float32(1), normal(256, 2000), normal(256, 16))


def convolutions():
    layout = ("NWC", "WIO", "NWC")
    shapes = [(15, 4, 64), (7, 64, 64), (1, 64, 1)]
    weights = [(0.1 * normal(*shape), jnp.zeros(shape[2])) for shape in shapes]

    def loss(weights, x, labels):
        for i, (w, b) in enumerate(weights):
            x = lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=layout) + b
            x = nn.relu(x) if i < 2 else x
        return jnp.mean(jnp.maximum(x, 0) - x * labels + jnp.log1p(jnp.exp(-jnp.abs(x))))

    labels = (normal(32, 4096, 1) > 0).astype(jnp.float32)
    return compiled(jax.value_and_grad(loss), weights, normal(32, 4096, 4), labels)


def elementwise():
    def loss(x, w):
        return (jnp.tanh(x * w + 1.0) * nn.sigmoid(x)).sum()

    return compiled(jax.value_and_grad(loss, (0, 1)), normal(4_000_000), normal(4_000_000))


def attention():
    def loss(q, k, v):
        return (nn.softmax(q @ jnp.swapaxes(k, -1, -2) / 32**0.5) @ v).sum()

    return compiled(jax.value_and_grad(loss, (0, 1, 2)), *[normal(8, 4, 512, 32) for _ in range(3)])


def spectral_convolution():
    def loss(x, re, im):
        spectrum = jnp.fft.rfft(x)
        mixed = jnp.einsum("bim,iom->bom", spectrum[:, :, :64], re + 1j * im)
        mixed = jnp.zeros_like(spectrum).at[:, :, :64].set(mixed)
        return (jnp.fft.irfft(mixed, n=8192) ** 2).sum()

    arguments = normal(16, 32, 8192), normal(32, 32, 64), normal(32, 32, 64)
    return compiled(jax.value_and_grad(loss, (0, 1, 2)), *arguments)


def layer_norm_softmax():
    def loss(x):
        x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return (nn.softmax(x) ** 2).sum()

    return compiled(jax.value_and_grad(loss), normal(8192, 512))


def hidden_markov_model():
    present = (normal(10000, 10) > 0).astype(jnp.float32)

    def log_likelihood(initial, transition, emission):
        transition = nn.log_softmax(transition)
        emission = present @ nn.log_sigmoid(emission).T + (1 - present) @ nn.log_sigmoid(-emission).T

        def step(state, emission):
            return emission + nn.logsumexp(state[:, None] + transition, 0), None

        state, _ = lax.scan(step, nn.log_softmax(initial) + emission[0], emission[1:])
        return nn.logsumexp(state)

    return compiled(jax.value_and_grad(log_likelihood, (0, 1, 2)), normal(15), normal(15, 15), normal(15, 10))


def selective_scan():
    def loss(u, delta, a, b, c):
        def step(state, at):
            u, delta, b, c = at
            state = jnp.exp(delta[:, None] * a) * state + (delta * u)[:, None] * b[None]
            return state, state @ c

        return (lax.scan(step, jnp.zeros((256, 16)), (u, nn.softplus(delta), b, c))[1] ** 2).sum()

    operands = normal(2000, 256), normal(2000, 256), -jnp.abs(normal(256, 16)), normal(2000, 16), normal(2000, 16)
    return compiled(jax.value_and_grad(loss, (0, 1, 2, 3, 4)), *operands)


run(
    {
        "gemm_1024": gemm,
        "vae_step_b256_g2000": vae,
        "conv1d_b32_l4096": convolutions,
        "elementwise_4m": elementwise,
        "attention_b8h4_s512_d32": attention,
        "spectral_conv_b16_c32_l8192_m64": spectral_convolution,
        "layernorm_softmax_8192x512": layer_norm_softmax,
        "hmm_t10k_s15_m10": hidden_markov_model,
        "selective_scan_l2000_d256_n16": selective_scan,
    }
)
