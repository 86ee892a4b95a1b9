#!/usr/bin/env python3
"""Top-1 of a network of ours in another runtime: the checker of the onnx package, then PyTorch's functions.

usage: top1_torch.py MODEL cifar10:DIR|fashion-mnist [RFHE]

Prints how many of the test images it gets right; with RFHE (the command) also what `rfhe eval` gets, and fails when they
differ by more than two images. Development tool: needs Debian's python3-torch and python3-onnx.
"""
import gzip
import json
import subprocess
import sys

import numpy as np
import onnx
import onnx.checker
import torch

import onnx_run_torch

BATCH = 250


def images(spec):
    if spec.startswith("cifar10:"):
        raw = np.fromfile(spec[8:] + "/test_batch.bin", np.uint8).reshape(-1, 3073)
        return raw[:, 1:].reshape(-1, 3, 32, 32), raw[:, 0]
    folder = "/usr/share/datasets/fashion-mnist/t10k-"
    x = gzip.open(folder + "images-idx3-ubyte.gz").read()[16:]
    y = gzip.open(folder + "labels-idx1-ubyte.gz").read()[8:]
    return np.frombuffer(x, np.uint8).reshape(-1, 1, 28, 28), np.frombuffer(y, np.uint8)


def main():
    path, spec = sys.argv[1:3]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    meta = {p.key: p.value for p in model.metadata_props}
    mean, std = (np.array([float(v) for v in meta[k].split(",")], np.float32).reshape(1, -1, 1, 1)
                 for k in ("rfhe.mean", "rfhe.std"))
    x, y = images(spec)
    right = 0
    torch.set_num_threads(1)
    with torch.no_grad():
        for at in range(0, len(y), BATCH):
            batch = (x[at:at + BATCH].astype(np.float32) / np.float32(255) - mean) / std
            logits = onnx_run_torch.run(model, [batch.astype(np.float32).reshape(-1)])[0]
            right += int((logits.argmax(1) == y[at:at + BATCH]).sum())
    print(f"{path}: PyTorch {right} of {len(y)} right, {100 * right / len(y):.2f} %", end="")
    if len(sys.argv) < 4:
        print()
        return 0
    out = subprocess.run([sys.argv[3], "eval", path, "--data", spec, "--threads", "1", "--json"],
                         check=True, capture_output=True)
    ours = json.loads(out.stdout)
    count = round(ours["top1"] * ours["images"])
    print(f"; rfhe {count} of {ours['images']}")
    return 0 if ours["images"] == len(y) and abs(count - right) <= 2 else 1


if __name__ == "__main__":
    sys.exit(main())
