#!/usr/bin/env python3
"""Makes tests/onnx/fixtures: tiny networks as PyTorch's exporter writes them, with an input and PyTorch's output each.

usage: make_onnx_fixtures.py [FOLDER]

Needs Debian's python3-torch and python3-onnx (PyTorch 1.13, onnx 1.12); nothing at build or test time does. Beside
NAME.onnx lie NAME.input.bin and NAME.output.bin, raw little-endian float32, batch 2. All weights are from one seed.
"""
import os
import sys
import warnings

import onnx
import torch
import torch.nn.functional as F
from torch import nn

warnings.filterwarnings("ignore")


class Residual(nn.Module):
    """Conv-BN-ReLU with a skip, pooling of both kinds, and the usual flattening with the batch taken from the input.
    bn1 and bn2 start equal, so the exporter merges their initializers and gives bn2's back through Identity."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.down = nn.Conv2d(6, 8, 1, stride=2)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)) + y)
        y = self.down(F.max_pool2d(y, 3, 2, 1))
        y = F.adaptive_avg_pool2d(y, 1)
        return self.fc(self.drop(y.view(y.size(0), -1)))


class Mixed(nn.Module):
    """The other operators: grouped and dilated convolution, asymmetric pads, ReLU6, slices, concatenation, averages."""

    def __init__(self, step):
        super().__init__()
        self.step = step
        self.deep = nn.Conv2d(4, 8, 3, groups=2, dilation=2, padding=2)
        self.mix = nn.Conv2d(8, 6, (1, 3), stride=(1, 2))
        self.fc = nn.Linear(6 * 4, 7)

    def forward(self, x):
        a = F.relu6(self.deep(x) * 3)
        a = F.pad(a, (1, 0, 2, 1), value=0.5)
        a = self.mix(a)[:, :, 1:9:self.step, :]
        b = F.avg_pool2d(F.pad(a, (1, 1, 1, 1), mode="reflect"), 3, 1, 0)
        y = torch.cat([a[:, :3], b[:, 3:] - 0.25], dim=1)
        y = F.avg_pool2d(y, 2, 2, 1, ceil_mode=True, count_include_pad=False)
        y = torch.clamp(y, min=-0.5) + y.mean((2, 3), keepdim=True)
        y = y[:, :, :2, :2]
        return F.softmax(self.fc(torch.flatten(y, 1)), dim=1)


class Shapes(nn.Module):
    """Reshapes whose sizes are computed from the input's."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 12)

    def forward(self, x):
        n, c, h, w = x.shape
        y = x.reshape(n, c * h, w)
        y = self.fc(y.reshape(-1, c * h * w))
        return y.view(x.size(0), c, -1) + x.view(x.size(0), c, h * w)


def write_floats(path, t):
    with open(path, "wb") as f:
        f.write(t.detach().numpy().astype("<f4").tobytes())


def make(folder, name, model, shape, opset, symbolic=True, external=False, **options):
    path = os.path.join(folder, name + ".onnx")
    x = torch.randn(2, *shape)
    model.eval()
    y = model(x)
    axes = {"input": {0: "batch"}, "output": {0: "batch"}} if symbolic else None
    torch.onnx.export(model, x if symbolic else x[:1], path, opset_version=opset, input_names=["input"],
                      output_names=["output"], dynamic_axes=axes, **options)
    write_floats(os.path.join(folder, name + ".input.bin"), x)
    write_floats(os.path.join(folder, name + ".output.bin"), y)
    if external:
        onnx.save_model(onnx.load(path), path, save_as_external_data=True, location=name + ".data",
                        size_threshold=64)


def shake_statistics(model):
    """Running statistics as after training, but the same in both layers, so that the exporter still merges them."""
    for bn in (model.bn1, model.bn2):
        bn.running_mean.copy_(torch.linspace(-0.2, 0.3, 6))
        bn.running_var.copy_(torch.linspace(0.5, 1.5, 6))
        bn.weight.data.copy_(torch.linspace(0.8, 1.2, 6))
    return model


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "tests", "onnx", "fixtures")
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(20261122)
    keep = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    residual = shake_statistics(Residual())
    make(folder, "folded", residual, (3, 8, 8), 13)
    make(folder, "preserved", residual, (3, 8, 8), 13, **keep)
    make(folder, "preserved9", residual, (3, 8, 8), 9, **keep)
    make(folder, "fixed", residual, (3, 8, 8), 16, symbolic=False, **keep)
    make(folder, "external", residual, (3, 8, 8), 13, external=True, **keep)
    for opset in (9, 10, 11, 13, 16):
        torch.manual_seed(7)
        make(folder, f"mixed{opset}", Mixed(1 if opset == 9 else 2), (4, 7, 9), opset)
    for opset in (9, 13):
        torch.manual_seed(8)
        make(folder, f"shapes{opset}", Shapes(), (2, 2, 3), opset)


main()
