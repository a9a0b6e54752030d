"""MC U-net in PyTorch: the same layers in the same order, written straightforwardly."""

import torch
from torch import nn


class Norm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gamma, self.beta = (nn.Parameter(f(1, channels, 1, 1, 1)) for f in (torch.ones, torch.zeros))

    def forward(self, x):
        variance, mean = torch.var_mean(x, (2, 3, 4), correction=0, keepdim=True)
        return (x - mean) / (variance.sqrt() + 1e-3) * self.gamma + self.beta


def norm_prelu(channels):
    return nn.Sequential(Norm(channels), nn.PReLU(channels, init=0.0))


class Down(nn.Module):
    def __init__(self, before, channels):
        super().__init__()
        self.stride = nn.Conv3d(before, channels, 1, stride=2)
        self.inner = nn.Sequential(norm_prelu(channels), nn.Conv3d(channels, channels, 3, padding=1))
        self.outer = nn.Sequential(norm_prelu(channels), nn.Dropout(0.2))

    def forward(self, x):
        x = self.stride(x)
        return self.outer(x + self.inner(x))


class Up(nn.Module):
    def __init__(self, before, channels):
        super().__init__()
        self.doubled = nn.Sequential(
            nn.Conv3d(before, channels, 1), norm_prelu(channels),
            nn.ConvTranspose3d(channels, channels, 1, stride=2, output_padding=1), norm_prelu(channels),
        )  # fmt: skip
        self.join = nn.Sequential(
            nn.Conv3d(2 * channels, channels, 3, padding=1), norm_prelu(channels), nn.Dropout(0.2)
        )

    def forward(self, x, skip):
        return self.join(torch.cat([self.doubled(x), skip], 1))


class Twin(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(2, 8, 3, padding=1), Norm(8))
        self.prelu = nn.PReLU(8, init=0.0)
        self.down = nn.ModuleList([Down(8, 16), Down(16, 32), Down(32, 64)])
        self.up = nn.ModuleList([Up(64, 32), Up(32, 16), Up(16, 8)])
        self.heads = nn.ModuleList([nn.Conv3d(c, 2, 1) for c in (32, 16, 8)])
        self.large = nn.Upsample(scale_factor=2)
        self.output = nn.Conv3d(2, 2, 1)

    def forward(self, x):
        stem = self.stem(x)
        down16 = self.down[0](stem)
        down32 = self.down[1](down16)
        up32 = self.up[0](self.down[2](down32), down32)
        up16 = self.up[1](up32, down16)
        up8 = self.up[2](up16, self.prelu(stem))
        sums = self.large(self.heads[0](up32)) + self.heads[1](up16)
        return self.output(self.large(sums) + self.heads[2](up8)).softmax(1)
