"""What speed.py times ours against in PyTorch, written as one writes it there.

Adam is the fused one, which is four times as fast as what `torch.optim.Adam` takes by itself.
"""

import torch
from torch import nn
from torch.nn import functional
from training_speed import CODE, gaussian, torch_step

from rdlearn.channels.uniform_noise import UniformNoiseChannel

# Terms of a chain of echo noise, and the largest S at which what is cut off is below 2**-23.
TERMS, CLIP = 64, 0.76
N_MIXTURE, FIRST_SCALE = 3, 0.5
LEAST_MASS = 1e-9
LEAST_BETA = 1e-6


def dense_step(x, kind):
    """A step of the dense autoencoder with a code "gaussian", "echo" or "uniform noise"."""
    torch.manual_seed(0)
    if kind == "uniform noise":
        laws = Laws(CODE)
        return torch_step(x, laws, UniformNoiseChannel(CODE), laws.parameters(), fused=True)
    return torch_step(x, {"gaussian": gaussian, "echo": echo}[kind], fused=True)


def echo(encoded):
    """Code and rate, the noise of a row from other rows of the batch, in an order of its own."""
    f, b = encoded.chunk(2, dim=1)
    scale = CLIP * torch.sigmoid(b)
    n = len(f)
    others = torch.rand(n, n).fill_diagonal_(-1).topk(TERMS).indices
    carried = scale[others].cumprod(dim=1)
    noise = f[others[:, 0]] + (carried[:, :-1] * f[others[:, 1:]]).sum(dim=1)
    return f + scale * noise, -scale.log().sum()


class Laws(nn.Module):
    """Uniform noise, and a mixture of logistic laws for each channel, which come last."""

    def __init__(self, n_channels):
        super().__init__()
        self.share = nn.Parameter(torch.zeros(n_channels, N_MIXTURE))
        self.mean = nn.Parameter(torch.linspace(-1, 1, N_MIXTURE).repeat(n_channels, 1))
        self.log_scale = nn.Parameter(torch.full((n_channels, N_MIXTURE), FIRST_SCALE))

    def forward(self, encoded):
        code = encoded + torch.rand_like(encoded) - 0.5
        precision = torch.exp(-self.log_scale)
        t = (code[..., None] - self.mean) * precision
        mass = torch.sigmoid(t + precision / 2) - torch.sigmoid(t - precision / 2)
        p = (torch.softmax(self.share, dim=-1) * mass).sum(dim=-1)
        return code, -p.clamp_min(LEAST_MASS).log().sum()


class GDN(nn.Module):
    """Divisive normalization by magnitudes, or its inverse's product; parameters are roots."""

    def __init__(self, n_channels, inverse=False):
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(n_channels, n_channels))
        self.beta = nn.Parameter(torch.empty(n_channels))
        self.inverse = inverse

    def forward(self, x):
        weights = (self.gamma * self.gamma)[:, :, None, None]
        pool = functional.conv2d(x.abs(), weights, self.beta * self.beta + LEAST_BETA)
        return x * pool if self.inverse else x / pool


def image_steps(objective, params, x, rate):
    """Forward and backward of our nets at our parameters, and the step of Adam behind it.

    x (n, height, width, channels). The first returns nats an image.
    """
    ours_down, _, ours_up = objective.views(params)
    down = nn.Sequential(*map(image_layer, objective.encoder.layers, ours_down))
    up = nn.Sequential(*map(image_layer, objective.decoder.layers, ours_up))
    laws = Laws(objective.channel.n_components)
    nets = nn.ModuleList([down, up, laws]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(nets.parameters(), lr=rate, fused=True)
    data = torch.from_numpy(x).movedim(3, 1)

    def forward_backward():
        code, rate = laws(down(data).movedim(1, 3))
        lost = functional.mse_loss(up(code.movedim(3, 1)), data, reduction="sum")
        mean = (rate + lost) / len(data)
        optimizer.zero_grad()
        mean.backward()
        return mean.item()

    return forward_backward, optimizer.step


def image_layer(ours, arrays):
    """A layer of ours with its parameters, in PyTorch."""
    if "gamma" in arrays:
        layer = GDN(ours.n_out, ours.inverse)
        found = {"gamma": arrays["gamma"], "beta": arrays["beta"]}
    else:
        weights = arrays["weights"].transpose(3, 2, 0, 1)
        kernel, stride = ours.kernel, ours.stride
        if type(ours).__name__ == "Conv":
            layer = nn.Conv2d(weights.shape[1], ours.n_out, kernel, stride, kernel // 2)
        else:
            more = {"padding": kernel // 2, "output_padding": stride - 1}
            layer = nn.ConvTranspose2d(weights.shape[0], ours.n_out, kernel, stride, **more)
        found = {"weight": weights, "bias": arrays["bias"]}
    layer.load_state_dict({name: torch.tensor(array) for name, array in found.items()})
    return layer


def boltzmann_epoch(x, batch, rate, n_hidden):
    """An epoch of persistent chains, which returns the squared error of a reconstructed row."""
    data = torch.tensor(x)
    mean = data.mean(dim=0).clamp(0.005, 0.995)
    weights, visible = 0.01 * torch.randn(x.shape[1], n_hidden), torch.logit(mean)
    hidden, chains = torch.zeros(n_hidden), torch.zeros(batch, n_hidden)

    def up(v):
        return torch.sigmoid(torch.addmm(hidden, v, weights))

    def down(h):
        return torch.sigmoid(torch.addmm(visible, h, weights.T))

    @torch.no_grad()
    def epoch():
        nonlocal chains
        for v in data[torch.randperm(len(data))].split(batch):
            h, drawn = up(v), torch.bernoulli(down(chains))
            means = up(drawn)
            weights.addmm_(v.T, h, alpha=rate / batch)
            weights.addmm_(drawn.T, means, alpha=-rate / batch)
            visible.add_(v.mean(dim=0) - drawn.mean(dim=0), alpha=rate)
            hidden.add_(h.mean(dim=0) - means.mean(dim=0), alpha=rate)
            chains = torch.bernoulli(means)
        v = data[:batch]
        return float(((v - down(up(v))) ** 2).sum(dim=1).mean())

    return epoch
