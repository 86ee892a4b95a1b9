#!/bin/sh
# What we write passes the ONNX checker and gives the same numbers under PyTorch: the node models as written by the test
# program, with its inputs and outputs, go through tools/onnx_run_torch.py. Skipped without PyTorch and onnx for Python.
# usage: other_runtime.sh SOURCE TEST_ONNX_NODE_MODELS
set -eu
python=/usr/bin/python3
"$python" -c 'import onnx, torch' 2>/dev/null || { echo "other_runtime: no PyTorch or onnx for Python, skipped"; exit 77; }
[ -d /usr/share/libonnx-testdata/data ] || { echo "other_runtime: no libonnx-testdata, skipped"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
RFHE_TEST_KEEP=$work "$2" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$python" "$1/tools/onnx_run_torch.py" compare "$work"
