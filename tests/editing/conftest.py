"""`toy`: denoisers whose answers are known, a noise schedule and seeded tensors, for the tests of this folder."""

from types import SimpleNamespace

import pytest
import torch


def sd_sigmas(steps: int) -> torch.Tensor:
    """Stable Diffusion's noise levels with leading spacing and offset 1: float32 [steps + 1], ending in 0."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha_bar = (1 - betas).cumprod(0)
    sigmas = ((1 - alpha_bar) / alpha_bar).sqrt()
    index = (torch.arange(steps) * (1000 // steps) + 1).flip(0)
    return torch.cat([sigmas[index], torch.zeros(1, dtype=torch.float64)]).float()


class Denoiser:
    """Counts its calls and remembers (sigma, x) of each."""

    def __init__(self):
        self.seen = []

    def __call__(self, x, sigma, **kwargs):
        assert sigma.shape == (x.shape[0],)
        assert sigma.dtype == torch.float32
        self.seen.append((float(sigma[0]), x.clone()))
        return self.answer(x, float(sigma[0]))

    @property
    def calls(self) -> int:
        return len(self.seen)


class Gaussian(Denoiser):
    """Data N(mean, std^2): D = (std^2 x + sigma^2 mean) / (std^2 + sigma^2)."""

    def __init__(self, mean=0.3, std=0.7):
        super().__init__()
        self.mean, self.std = mean, std

    def answer(self, x, sigma):
        return (self.std**2 * x + sigma**2 * self.mean) / (self.std**2 + sigma**2)

    def flow(self, x, sigma_from, sigma_to):
        """The exact solution of dx/dsigma = (x - D) / sigma."""
        scale = ((self.std**2 + sigma_to**2) / (self.std**2 + sigma_from**2)) ** 0.5
        return self.mean + (x - self.mean) * scale


class Mixture(Denoiser):
    """Data = equal mixture of N(modes[k], std^2). modes: [K, C, h, w]. Nonlinear; frames are independent."""

    def __init__(self, modes, std=0.2):
        super().__init__()
        self.modes, self.std = modes, std

    def answer(self, x, sigma):
        v = self.std**2 + sigma**2
        distance = ((x[:, None] - self.modes[None]) ** 2).flatten(2).sum(-1)
        share = torch.softmax(-distance / (2 * v), dim=1)[..., None, None, None]
        return (share * (self.std**2 * x[:, None] + sigma**2 * self.modes[None]) / v).sum(1)


class Coupled(Denoiser):
    """Nonlinear, and every frame and cell depends on all others (as through space-time attention)."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.shift = shift

    def answer(self, x, sigma):
        y = x / (1 + sigma**2) ** 0.5
        mixed = y + 0.5 * y.mean((0, 2, 3), keepdim=True) + 0.3 * y.roll(1, -1) * y.roll(1, 0).tanh()
        guess = torch.tanh(mixed) + self.shift
        return (x + sigma**2 * guess) / (1 + sigma**2)  # the closer to clean, the closer to x itself


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def toy():
    return SimpleNamespace(Gaussian=Gaussian, Mixture=Mixture, Coupled=Coupled, sd_sigmas=sd_sigmas, randn=randn)
