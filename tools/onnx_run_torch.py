#!/usr/bin/env python3
"""An independent interpreter of the ONNX that rfhe writes (opset 13, its list of operators), on PyTorch's functions.

usage: onnx_run_torch.py compare FOLDER          NNN.onnx with NNN.inputK.bin: checked, run, compared with NNN.outputK.bin
       onnx_run_torch.py run MODEL IN.bin OUT.bin   one model with one input; raw little-endian float32

A symbolic batch takes whatever the input file holds. Development tool: needs Debian's python3-torch and python3-onnx.
"""
import glob
import os
import sys

import numpy as np
import onnx
import onnx.checker
import onnx.numpy_helper
import torch
import torch.nn.functional as F

RTOL, ATOL = 1e-4, 1e-5


def attributes(node):
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def spatial_pads(a, x, kernel, strides, dilations):
    """Begin and end pads per spatial axis, SAME resolved as the ONNX documents say."""
    n = len(kernel)
    mode = a.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = a.get("pads", [0] * 2 * n)
        return pads[:n], pads[n:]
    begin, end = [0] * n, [0] * n
    for i in range(n if mode != "VALID" else 0):
        size = x.shape[2 + i]
        total = max(0, (-(-size // strides[i]) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - size)
        small, large = total // 2, total - total // 2
        begin[i], end[i] = (small, large) if mode == "SAME_UPPER" else (large, small)
    return begin, end


def torch_pad(x, begin, end, value=0.0, mode="constant"):
    flat = [p for b, e in zip(reversed(begin), reversed(end)) for p in (b, e)]
    return F.pad(x, flat, mode=mode, value=value) if any(flat) else x


def conv(a, x, w, bias=None):
    n = x.dim() - 2
    strides, dilations = a.get("strides", [1] * n), a.get("dilations", [1] * n)
    begin, end = spatial_pads(a, x, list(w.shape[2:]), strides, dilations)
    f = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    return f(torch_pad(x, begin, end), w, bias, strides, 0, dilations, a.get("group", 1))


def windows(x, kernel, strides, dilations, counts):
    """All windows as a last axis: x is padded far enough."""
    n = len(kernel)
    index = []
    for i in range(n):
        start = torch.arange(counts[i]) * strides[i]
        index.append(start[:, None] + torch.arange(kernel[i])[None, :] * dilations[i])
    for i in range(n):
        x = x.index_select(2 + i, index[i].reshape(-1))
    shape = list(x.shape[:2])
    for i in range(n):
        shape += [counts[i], kernel[i]]
    order = [0, 1] + [2 + 2 * i for i in range(n)] + [3 + 2 * i for i in range(n)]
    return x.reshape(shape).permute(order).reshape(list(x.shape[:2]) + counts + [-1])


def pool(a, x, is_max):
    """By gathering windows, on purpose not by PyTorch's pooling: its rules for padding differ from ONNX's."""
    kernel = list(a["kernel_shape"])
    n = len(kernel)
    strides, dilations = a.get("strides", [1] * n), a.get("dilations", [1] * n)
    begin, end = spatial_pads(a, x, kernel, strides, dilations)
    counts, far = [], []
    for i in range(n):
        room = x.shape[2 + i] + begin[i] + end[i] - ((kernel[i] - 1) * dilations[i] + 1)
        count = room // strides[i] + 1
        if a.get("ceil_mode", 0) and room % strides[i] and count * strides[i] < x.shape[2 + i] + begin[i]:
            count += 1
        counts.append(count)
        reach = (count - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1
        far.append(max(end[i], reach - x.shape[2 + i] - begin[i]))
    if is_max:
        return windows(torch_pad(x, begin, far, float("-inf")), kernel, strides, dilations, counts).amax(-1)
    sums = windows(torch_pad(x, begin, far), kernel, strides, dilations, counts).sum(-1)
    ones = torch.ones_like(x)
    if a.get("count_include_pad", 0):
        beyond = [f - e for f, e in zip(far, end)]
        ones = torch_pad(torch_pad(ones, begin, end, 1.0), [0] * n, beyond)
        weight = windows(ones, kernel, strides, dilations, counts).sum(-1)
    else:
        weight = windows(torch_pad(ones, begin, far), kernel, strides, dilations, counts).sum(-1)
    return sums / weight


def batchnorm(a, outputs, x, scale, shift, mean, var):
    shape = [1, -1] + [1] * (x.dim() - 2)
    eps, momentum = a.get("epsilon", 1e-5), a.get("momentum", 0.9)
    extra = []
    if outputs > 1:  # training, as opset 9 to 13 say it
        axes = [i for i in range(x.dim()) if i != 1]
        now, spread = x.mean(axes), x.var(axes, unbiased=False)
        extra = [mean * momentum + now * (1 - momentum), var * momentum + spread * (1 - momentum), now, spread]
        mean, var = now, spread
    y = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + eps) * scale.view(shape) + shift.view(shape)
    return [y] + extra


def gemm(a, x, w, c=None):
    x = x.t() if a.get("transA", 0) else x
    w = w.t() if a.get("transB", 0) else w
    y = a.get("alpha", 1.0) * (x @ w)
    return y if c is None else y + a.get("beta", 1.0) * c


def pad(a, x, pads, value=None):
    n = x.dim()
    mode = {"constant": "constant", "edge": "edge", "reflect": "reflect"}[a.get("mode", "constant")]
    pairs = [(int(pads[i]), int(pads[n + i])) for i in range(n)]
    cut = tuple(slice(max(0, -b), x.shape[i] - max(0, -e)) for i, (b, e) in enumerate(pairs))
    grow = [(max(0, b), max(0, e)) for b, e in pairs]
    extra = {"constant_values": float(value)} if mode == "constant" and value is not None else {}
    return torch.from_numpy(np.pad(x.numpy()[cut], grow, mode=mode, **extra).copy())


def reshape(x, shape):
    return x.reshape([x.shape[i] if d == 0 else int(d) for i, d in enumerate(shape.tolist())])


def slice_(x, starts, ends, axes, steps):
    index = [slice(None)] * x.dim()
    for s, e, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist()):
        size = x.shape[axis]
        if step < 0 and e < -size:
            e = None
        index[axis] = slice(s, e, step)
    return torch.from_numpy(x.numpy()[tuple(index)].copy())


def flatten(a, x):
    axis = a.get("axis", 1)
    axis += x.dim() if axis < 0 else 0
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


def clip(x, low=None, high=None):
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def mean(a, x):
    axes = list(a.get("axes", range(x.dim())))
    return x.mean(axes, keepdim=bool(a.get("keepdims", 1))) if x.dim() else x


OPERATORS = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": lambda a, x, y: x @ y,
    "Relu": lambda a, x: F.relu(x),
    "Clip": lambda a, *x: clip(*x),
    "MaxPool": lambda a, x: pool(a, x, True),
    "AveragePool": lambda a, x: pool(a, x, False),
    "GlobalAveragePool": lambda a, x: x.mean(list(range(2, x.dim())), keepdim=True),
    "ReduceMean": mean,
    "Add": lambda a, x, y: x + y,
    "Sub": lambda a, x, y: x - y,
    "Mul": lambda a, x, y: x * y,
    "Flatten": flatten,
    "Reshape": lambda a, x, s: reshape(x, s),
    "Slice": lambda a, *x: slice_(*x),
    "Concat": lambda a, *x: torch.cat(x, a["axis"]),
    "Pad": pad,
    "Softmax": lambda a, x: F.softmax(x, a.get("axis", -1)),
    "Identity": lambda a, x: x,
    "Dropout": lambda a, x, ratio=None: x,
}


def run(model, inputs):
    """inputs: flat float32 arrays in the graph's order. Returns the outputs as arrays."""
    g = model.graph
    values = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in g.initializer}
    for info, data in zip(g.input, inputs):
        shape = [d.dim_value if d.HasField("dim_value") else -1 for d in info.type.tensor_type.shape.dim]
        values[info.name] = torch.from_numpy(data.reshape(shape).copy())
    for node in g.node:
        arguments = [values[name] if name else None for name in node.input]
        a = attributes(node)
        if node.op_type == "BatchNormalization":
            results = batchnorm(a, len(node.output), *arguments)
        else:
            results = [OPERATORS[node.op_type](a, *arguments)]
        values.update(zip(node.output, results))
    return [values[o.name].numpy() for o in g.output]


def compare(folder):
    models = sorted(glob.glob(os.path.join(folder, "*.onnx")))
    worst, operators, wrong = 0.0, {}, 0
    for path in models:
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path)
        stem = path[: -len(".onnx")]
        inputs = [np.fromfile(f"{stem}.input{i}.bin", "<f4") for i in range(len(model.graph.input))]
        for i, y in enumerate(run(model, inputs)):
            ours = np.fromfile(f"{stem}.output{i}.bin", "<f4")
            if ours.size != y.size or not np.allclose(ours, y.reshape(-1), RTOL, ATOL, equal_nan=True):
                print(f"{os.path.basename(path)}: output {i} of {[n.op_type for n in model.graph.node]} differs")
                wrong += 1
            elif y.size:
                worst = max(worst, float(np.nanmax(np.abs(ours - y.reshape(-1)))))
        for name in {n.op_type for n in model.graph.node}:
            operators[name] = operators.get(name, 0) + 1
    print(f"{len(models)} models checked and run, {wrong} differ, largest difference {worst:.1e}")
    print(", ".join(f"{k} {v}" for k, v in sorted(operators.items())))
    missing = set(OPERATORS) | {"BatchNormalization"}
    missing -= set(operators)
    if missing:
        print(f"operators that no model had: {sorted(missing)}")
    return 1 if wrong or not models else 0


def main():
    torch.set_num_threads(1)
    if len(sys.argv) == 3 and sys.argv[1] == "compare":
        return compare(sys.argv[2])
    if len(sys.argv) == 5 and sys.argv[1] == "run":
        model = onnx.load(sys.argv[2])
        run(model, [np.fromfile(sys.argv[3], "<f4")])[0].astype("<f4").tofile(sys.argv[4])
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
