#!/usr/bin/env python3
"""Ten training steps of a narrow ResNet-20 in PyTorch, as a fixture for the network engine.

    dump_torch_steps.py OUT [--width 4] [--batch 4] [--size 16] [--steps 10]

Writes OUT.onnx (the initial network, BatchNormalization separate) and OUT.bin, little-endian:
    uint32  magic 0x53544552, steps, batch, channels, height, width, classes, number of weights
    per step: float32 images, uint32 labels, float32 loss
    per weight, in the order of named_parameters() and named_buffers(): uint32 length of the name, name,
        uint32 count, float32 values after the last step (num_batches_tracked is left out)
Seed 0, one thread, SGD with rate 0.01, momentum 0.9, Nesterov, weight decay 5e-4 on everything. Development time only.
"""
import argparse
import struct

import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, ci, co, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(ci, co, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(co)
        self.conv2 = nn.Conv2d(co, co, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(co)
        self.stride, self.pad = stride, (co - ci) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride == 2:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class ResNet20(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        blocks, ci = [], width
        for stage in range(3):
            for k in range(3):
                blocks.append(Block(ci, width << stage, 2 if stage and not k else 1))
                ci = width << stage
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(ci, 10)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def floats(t):
    return t.detach().contiguous().float().numpy().astype("<f4").tobytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    a = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = ResNet20(a.width).train()
    # Tracing in training mode runs the network and moves its running statistics; the file has them moved too.
    torch.onnx.export(net, torch.zeros(1, 3, a.size, a.size), a.out + ".onnx", opset_version=13,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
                      input_names=["input"], output_names=["logits"],
                      dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}})
    optimizer = torch.optim.SGD(net.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True)
    with open(a.out + ".bin", "wb") as f:
        named = list(net.named_parameters()) + [
            (n, b) for n, b in net.named_buffers() if not n.endswith("num_batches_tracked")]
        f.write(struct.pack("<8I", 0x53544552, a.steps, a.batch, 3, a.size, a.size, 10, len(named)))
        for _ in range(a.steps):
            x, labels = torch.randn(a.batch, 3, a.size, a.size), torch.randint(0, 10, (a.batch,))
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), labels)
            loss.backward()
            optimizer.step()
            f.write(floats(x) + labels.numpy().astype("<u4").tobytes() + struct.pack("<f", loss.item()))
        for name, value in named:
            f.write(struct.pack("<I", len(name)) + name.encode() + struct.pack("<I", value.numel()) + floats(value))


if __name__ == "__main__":
    main()
