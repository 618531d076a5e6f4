"""The tasks in PyTorch, eager, f32. Usage: torch_tasks.py --task NAME --threads N [--reps N]"""
import sys

import torch
import torch.nn.functional as F
from torch import nn

from common import run

torch.set_num_threads(int(sys.argv[sys.argv.index("--threads") + 1]))
torch.manual_seed(0)


def variables(*shapes):
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def backward(loss, leaves):
    """One step without an optimiser: the gradients of all leaves, from nothing."""
    for leaf in leaves:
        leaf.grad = None
    loss().backward()


def gemm():
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return lambda: a @ b


class Vae(nn.Module):
    def __init__(self, genes=2000, hidden=256, latent=16):
        super().__init__()
        relu = nn.ReLU
        self.encoder = nn.Sequential(nn.Linear(genes, hidden), relu(), nn.Linear(hidden, hidden), relu())
        self.mean, self.log_variance = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), relu(), nn.Linear(hidden, hidden), relu(), nn.Linear(hidden, genes)
        )

    def forward(self, x):
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        error = ((self.decoder(z) - x) ** 2).sum(1).mean()
        return error - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()


def training(model, loss):
    adam = torch.optim.Adam(model.parameters(), 1e-3)

    def step():
        adam.zero_grad()
        loss().backward()
        adam.step()

    return step


def vae():
    model, x = Vae(), torch.randn(256, 2000)
    return training(model, lambda: model(x))


def convolutions():
    model = nn.Sequential(
        nn.Conv1d(4, 64, 15, padding=7), nn.ReLU(), nn.Conv1d(64, 64, 7, padding=3), nn.ReLU(), nn.Conv1d(64, 1, 1)
    )
    x, labels = torch.randn(32, 4, 4096), (torch.rand(32, 1, 4096) > 0.5).float()
    return lambda: backward(lambda: F.binary_cross_entropy_with_logits(model(x), labels), list(model.parameters()))


def tiny_mlp():
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 4))
    x, y = torch.randn(32, 6), torch.randn(32, 4)
    step = training(model, lambda: F.mse_loss(model(x), y))

    def steps():
        for _ in range(50):
            step()

    return steps


def elementwise():
    x, w = variables((4_000_000,), (4_000_000,))
    return lambda: backward(lambda: (torch.tanh(x * w + 1.0) * torch.sigmoid(x)).sum(), [x, w])


def attention():
    q, k, v = variables(*[(8, 4, 512, 32)] * 3)
    return lambda: backward(lambda: F.scaled_dot_product_attention(q, k, v).sum(), [q, k, v])


def spectral_convolution():
    (x,) = variables((16, 32, 8192))
    w = torch.randn(32, 32, 64, dtype=torch.cfloat, requires_grad=True)

    def loss():
        spectrum = torch.fft.rfft(x)
        mixed = torch.zeros_like(spectrum)
        mixed[:, :, :64] = torch.einsum("bim,iom->bom", spectrum[:, :, :64], w)
        return torch.fft.irfft(mixed, n=8192).pow(2).sum()

    return lambda: backward(loss, [x, w])


def layer_norm_softmax():
    norm = nn.LayerNorm(512)
    (x,) = variables((8192, 512))
    return lambda: backward(lambda: torch.softmax(norm(x), -1).pow(2).sum(), [x, *norm.parameters()])


run(
    {
        "gemm_1024": gemm,
        "vae_step_b256_g2000": vae,
        "conv1d_b32_l4096": convolutions,
        "tiny_mlp_x50": tiny_mlp,
        "elementwise_4m": elementwise,
        "attention_b8h4_s512_d32": attention,
        "spectral_conv_b16_c32_l8192_m64": spectral_convolution,
        "layernorm_softmax_8192x512": layer_norm_softmax,
    }
)
