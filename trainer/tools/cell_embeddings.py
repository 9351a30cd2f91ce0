#!/usr/bin/env python3
"""Computes GeoCLIP location embeddings of a cell table's mean locations, for the recipe's `cell_embeddings.file`.

    python3 -m pip install numpy
    python3 trainer/tools/cell_embeddings.py cells.json cell_embeddings.f32

Downloads the wheel of geoclip (MIT) from PyPI and reads its weights without PyTorch. Writes little-endian f32, one row
of 512 values per cell in the order of the table, centred and scaled so that the mean squared norm of a row is SCALE
squared; the output layer's contribution then has the scale of its other weights.

The encoder: Vivanco Cepeda et al., GeoCLIP, NeurIPS 2023, section 3.1: equal-earth projection, random Fourier features
at three scales, one small network for each, summed.
"""

import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

PACKAGE = "geoclip==1.3.0"
WEIGHTS = "geoclip/model/weights/location_encoder_weights.pth"
SCALE = 0.3
# Equal Earth: Šavrič, Patterson and Jenny 2018, equations 2 and 3; UNIT is GeoCLIP's scale.
A1, A2, A3, A4, UNIT = 1.340264, -0.081106, 0.000893, 0.003796, 66.50336


def weights() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run(pip, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return read_pth(archive.read(WEIGHTS))


def read_pth(data: bytes) -> dict:
    """The tensors of a PyTorch file. Only f32 arrays and dictionaries are unpickled; anything else is an error."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    (index,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
    root = index.removesuffix("data.pkl")

    def tensor(storage, offset, size, stride, *_):
        strides = [4 * step for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, strides).copy()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            known = {"_rebuild_tensor_v2": tensor, "OrderedDict": dict, "FloatStorage": None}
            if name not in known:
                raise pickle.UnpicklingError(f"unexpected type {module}.{name} in {PACKAGE}")
            return known[name]

        def persistent_load(self, pid):
            return np.frombuffer(archive.read(f"{root}data/{pid[2]}"), "<f4")

    return Unpickler(io.BytesIO(archive.read(index))).load()


def encode(lat_lng: np.ndarray, w: dict) -> np.ndarray:
    lat, lng = np.radians(lat_lng).T
    t = np.arcsin(np.sqrt(3) / 2 * np.sin(lat))
    x = 2 * np.sqrt(3) * lng * np.cos(t) / (3 * (9 * A4 * t**8 + 7 * A3 * t**6 + 3 * A2 * t**2 + A1))
    y = A4 * t**9 + A3 * t**7 + A2 * t**3 + A1 * t
    place = np.stack([x, y], 1) * UNIT / 180
    total = 0
    for i in range(3):
        turn = 2 * np.pi * place @ w[f"LocEnc{i}.capsule.0.b"].T
        hidden = np.concatenate([np.cos(turn), np.sin(turn)], 1)
        for layer in (1, 3, 5):
            weight, bias = w[f"LocEnc{i}.capsule.{layer}.weight"], w[f"LocEnc{i}.capsule.{layer}.bias"]
            hidden = np.maximum(0, hidden @ weight.T + bias)
        total = total + hidden @ w[f"LocEnc{i}.head.0.weight"].T + w[f"LocEnc{i}.head.0.bias"]
    return total


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    cells = json.loads(Path(sys.argv[1]).read_text())["cells"]
    rows = encode(np.array([[cell["lat"], cell["lng"]] for cell in cells], np.float64), weights())
    rows -= rows.mean(0)
    rows *= SCALE / np.sqrt((rows**2).sum(1).mean())
    out = Path(sys.argv[2])
    part = out.with_name(out.name + ".part")
    part.write_bytes(rows.astype("<f4").tobytes())
    os.replace(part, out)
    print(f"wrote {out}: {rows.shape[0]} cells, {rows.shape[1]} values each")


if __name__ == "__main__":
    main()
