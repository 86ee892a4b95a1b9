#!/usr/bin/python3
"""Writes pillow.txt beside this script: what Pillow and torchvision make of small synthetic images.

Each line: kind, input width height channels, four numbers, then the resulting bytes in hexadecimal.
  resize   box is the whole image; numbers: output width, output height, 0, 0
  box      numbers: left, top, width, height of the box; resized to 8 x 8
  crop     numbers: shorter side (0 = leave), crop height, crop width, 0 (Resize and CenterCrop of torchvision)
The input is the pattern of pixel() below, which tests/data/test_transform.c computes again.
"""
import pathlib
import numpy as np
import torchvision.transforms as T
from PIL import Image


def pixel(x, y, c):
    return ((x * 37 + y * 101 + c * 59) * 2654435761 % 2**32 >> 24) & 255


def image(w, h, c):
    a = np.array([[[pixel(x, y, k) for k in range(c)] for x in range(w)] for y in range(h)], np.uint8)
    return Image.fromarray(a if c == 3 else a[:, :, 0])


lines = []


def add(kind, w, h, c, numbers, result):
    data = np.asarray(result).tobytes().hex()
    lines.append(f"{kind} {w} {h} {c} {' '.join(map(str, numbers))} {data}")


for w, h, c, W, H in [(23, 17, 3, 9, 7), (7, 5, 3, 16, 12), (23, 17, 1, 23, 5), (23, 17, 1, 5, 17), (64, 48, 1, 3, 2),
                      (40, 30, 3, 1, 1), (1, 1, 3, 4, 3), (2, 9, 1, 9, 2), (31, 29, 3, 30, 28), (200, 3, 1, 7, 8)]:
    add("resize", w, h, c, (W, H, 0, 0), image(w, h, c).resize((W, H), Image.BILINEAR))
for x, y, w, h in [(0, 0, 23, 17), (3, 5, 11, 9), (10, 0, 13, 4), (22, 16, 1, 1)]:
    add("box", 23, 17, 3, (x, y, w, h), image(23, 17, 3).crop((x, y, x + w, y + h)).resize((8, 8), Image.BILINEAR))
for w, h, c, s, ch, cw in [(23, 17, 3, 12, 10, 10), (17, 23, 3, 12, 9, 9), (23, 17, 1, 8, 7, 5), (20, 20, 1, 0, 13, 7),
                           (9, 6, 3, 0, 8, 13), (9, 30, 1, 5, 11, 4), (10, 10, 1, 10, 7, 7), (6, 5, 1, 0, 9, 9)]:
    steps = ([T.Resize(s)] if s else []) + [T.CenterCrop((ch, cw))]
    add("crop", w, h, c, (s, ch, cw, 0), T.Compose(steps)(image(w, h, c)))
(pathlib.Path(__file__).parent / "pillow.txt").write_text("\n".join(lines) + "\n")
