#!/usr/bin/python3
"""Ten training steps of ResNet-20 in PyTorch, in double precision: the oracle of tests/nn/test_steps.c.

usage: dump_torch_steps.py >tests/nn/torch_steps.txt        (needs Debian's python3-torch; not part of the test suite)

Weights, images and labels are made from a hash of (stream, index), which the test computes too, so nothing but the
results has to be stored: the loss of every step, and for every tensor its sum and Euclidean norm after the ten steps,
and the norm of its gradient in the first one.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

STEPS, BATCH, RATE, DECAY, MOMENTUM, SMOOTHING = 10, 16, 0.01, 5e-4, 0.9, 0.1


def stream_of(name):
    h = 2166136261
    for c in name.encode():
        h = (h ^ c) * 16777619 % 2**32
    return h


def mix(stream, n):
    """n 32-bit hashes (the finaliser of MurmurHash3 on stream + 2654435761 * index)."""
    h = (stream + np.arange(n, dtype=np.uint64) * 2654435761) % 2**32
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h ^= h >> np.uint64(shift)
        h = h * factor % 2**32
    return h ^ (h >> np.uint64(16))


def uniform(name, shape):
    """Floats in [-1, 1), exact in single precision."""
    h = mix(stream_of(name), int(np.prod(shape)))
    u = (h >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return u.reshape(shape)


def fill(name, shape):
    u = uniform(name, shape)
    if name.endswith("running_mean"):
        u = u * np.float32(0)
    elif name.endswith("running_var"):
        u = u * np.float32(0) + np.float32(1)
    elif len(shape) >= 2:
        u = u * np.float32(math.sqrt(6.0 / np.prod(shape[1:])))
    elif "bn" in name and name.endswith("weight"):
        u = u * np.float32(0.25) + np.float32(1)
    else:
        u = u * np.float32(0.125)
    return torch.tensor(u.astype(np.float64))


def shapes():
    yield "conv1.weight", (16, 3, 3, 3)
    yield from norm("bn1", 16)
    inner = 16
    for stage in range(3):
        out = 16 << stage
        for block in range(3):
            name = f"layer{stage + 1}.{block}"
            yield f"{name}.conv1.weight", (out, inner, 3, 3)
            yield from norm(f"{name}.bn1", out)
            yield f"{name}.conv2.weight", (out, out, 3, 3)
            yield from norm(f"{name}.bn2", out)
            inner = out
    yield "linear.weight", (10, 64)
    yield "linear.bias", (10,)


def norm(name, n):
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (n,)


def bn(p, name, x):
    return F.batch_norm(x, p[name + ".running_mean"], p[name + ".running_var"], p[name + ".weight"],
                        p[name + ".bias"], training=True, momentum=0.1, eps=1e-5)


def forward(p, x):
    x = F.relu(bn(p, "bn1", F.conv2d(x, p["conv1.weight"], padding=1)))
    for stage in range(3):
        for block in range(3):
            name = f"layer{stage + 1}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            y = F.relu(bn(p, name + ".bn1", F.conv2d(x, p[name + ".conv1.weight"], stride=stride, padding=1)))
            y = bn(p, name + ".bn2", F.conv2d(y, p[name + ".conv2.weight"], padding=1))
            if stride == 2:
                extra = y.shape[1] - x.shape[1]
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra // 2, extra // 2))
            x = F.relu(y + x)
    return F.linear(x.mean((2, 3)), p["linear.weight"], p["linear.bias"])


def main():
    p = {name: fill(name, shape) for name, shape in shapes()}
    trained = [n for n in p if "running" not in n]
    for n in trained:
        p[n].requires_grad_()
    optimizer = torch.optim.SGD(
        [{"params": [p[n] for n in trained if p[n].dim() >= 2], "weight_decay": DECAY},
         {"params": [p[n] for n in trained if p[n].dim() < 2], "weight_decay": 0.0}],
        lr=RATE, momentum=MOMENTUM, nesterov=True)
    print(f"# {STEPS} steps, batch {BATCH}, SGD with Nesterov momentum {MOMENTUM}, rate {RATE}, weight decay {DECAY} on "
          f"kernels and matrices, label smoothing {SMOOTHING}; torch {torch.__version__}, double precision")
    for step in range(STEPS):
        x = torch.tensor(uniform(f"images {step}", (BATCH, 3, 32, 32)).astype(np.float64))
        y = torch.tensor((mix(stream_of(f"labels {step}"), BATCH) % 10).astype(np.int64))
        optimizer.zero_grad()
        loss = F.cross_entropy(forward(p, x), y, label_smoothing=SMOOTHING)
        loss.backward()
        if step == 0:
            for n in trained:
                print(f"gradient {n} {p[n].grad.norm().item():.9g}")
        optimizer.step()
        print(f"loss {step} {loss.item():.9g}")
    for n in p:
        print(f"after {n} {p[n].sum().item():.9g} {p[n].norm().item():.9g}")


main()
