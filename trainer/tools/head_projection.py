#!/usr/bin/env python3
"""Recovers the matrix A of a bundle's linear head, from which `fit` can start (the recipe's `cell_embeddings.start`).

    python3 -m pip install numpy onnx
    python3 trainer/tools/head_projection.py model/bundles/desktop cell_embeddings.f32 projection.f32

A head with the cell embeddings E `[cells, 512]` has the weights W = A E', `[dim, cells]`, for embeddings of unit length.
A = W E (E'E)^-1 does not depend on the cells: with the embeddings of another partition it gives a head for that one.
Writes A as little-endian f32 values `[dim, 512]`. The bias, which holds the prior of the cells, is not recovered.
"""

import os
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

SMALL = 0.05  # largest mean residue of W, relative to its mean: 8-bit weights give 0.01


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    bundle, embeddings, out = map(Path, sys.argv[1:])
    arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(bundle / "head.onnx").graph.initializer}
    if "weight_1_whole_stored" in arrays or "weight_1" in arrays:
        sys.exit(f"{bundle}/head.onnx has a hidden layer; only a linear head has a projection")
    if "weight_0_whole_stored" in arrays:
        weights = arrays["weight_0_whole_stored"].astype(np.float64) * arrays["weight_0_scale"]
    else:
        weights = arrays["weight_0"].astype(np.float64)
    cells = weights.shape[1]
    e = np.fromfile(embeddings, "<f4").astype(np.float64).reshape(cells, -1)
    a = weights @ e @ np.linalg.inv(e.T @ e)
    residue = np.abs(weights - a @ e.T).mean() / np.abs(weights).mean()
    if residue > SMALL:
        sys.exit(f"{bundle}/head.onnx was not trained with {embeddings}: {residue:.0%} of its weights remain")
    part = out.with_name(out.name + ".part")
    part.write_bytes(a.astype("<f4").tobytes())
    os.replace(part, out)
    print(f"wrote {out}: {a.shape[0]} x {a.shape[1]}, residue {residue:.1%}")


if __name__ == "__main__":
    main()
