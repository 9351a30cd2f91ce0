#!/usr/bin/env python3
"""Teaches CLIP's image encoder streets: a low-rank adapter for every layer, learned together with a head.

    python3 -m pip install numpy onnx pillow safetensors torch
    python3 trainer/tools/adapt_encoder.py --network encoder.onnx --index index.csv --images photos --split train \\
        --out runs/adapted

Writes `adapter.safetensors` and `encoder.json`, which `landfall-train embed --encoder` takes; the head is thrown away,
`landfall-train fit` makes the one that is kept. Wants a GPU: the desktop bundle's took two and a half minutes of an
H100, a step on a processor takes minutes.

The frozen weights are those of the int8 network as floats; activations are not rounded. LoRA: Hu et al.,
arXiv:2106.09685. Labels, cells and views are those of trainer/recipes/desktop.toml.
"""

import argparse
import csv
import hashlib
import json
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from PIL import Image
from safetensors.torch import save_file
from torch import nn

PIXELS = 400  # pictures are kept as squares of this side
TAU_KM, COUNTRY_WEIGHT, EARTH_KM = 75.0, 0.5, 6371.0
WIDTH, HEADS, LAYERS, PATCH = 768, 12, 12, 16


def main() -> None:
    args = arguments()
    torch.manual_seed(args.seed)
    random = np.random.default_rng(args.seed)
    device = torch.device(args.device)
    rows = [row for row in csv.DictReader(open(args.index, newline="")) if row["split"] in args.split]
    labels, weights, keep = soft_labels(rows, args.cells)
    rows, labels, weights = [rows[i] for i in keep], labels[keep].to(device), weights[keep].to(device)
    with ProcessPoolExecutor() as pool:
        pixels = list(pool.map(square, [args.images / row["file"] for row in rows], chunksize=32))
    pictures = torch.from_numpy(np.stack(pixels)).to(device)
    spec = json.loads(args.encoder.read_text())
    encoder = Encoder(args.network, args.rank, device)
    cells = torch.from_numpy(np.fromfile(args.cell_embeddings, "<f4").reshape(labels.shape[1], -1)).to(device)

    # The head first, on the encoder as it is: a head of zeros would send nothing but noise into the adapters.
    with torch.no_grad():
        parts = [looks(pictures[i : i + 128], spec, None, args) for i in range(0, len(rows), 128)]
        frozen = torch.cat([encoder.embed(part) for part in parts])
    head = Head(frozen, cells)
    places, lonely = groups(rows)
    learn_head(head, frozen, places, lonely, labels, weights, random)

    adapters = [p for name, p in encoder.named_parameters() if name.endswith((".a", ".b"))]
    optimiser = torch.optim.AdamW(
        [
            {"params": adapters, "weight_decay": 0.0, "peak": args.rate},
            {"params": [head.bridge], "weight_decay": 0.3, "peak": args.head_rate},
            {"params": [head.bias], "weight_decay": 0.1, "peak": args.head_rate},
        ]
    )
    steps = min(args.steps or 10**9, math.ceil(args.epochs * len(places) / args.places))
    singles = max(1, len(lonely) * args.places // len(places))  # so that both last an epoch
    draw_places, draw_lonely = deck(places, random), deck(lonely, random)
    for step in range(steps):
        several = [next(draw_places) for _ in range(args.places)]
        alone = [next(draw_lonely) for _ in range(singles)] if lonely else []
        wanted = [i for group in several for i in group] + alone
        inputs = head.standardise(encoder.embed(looks(pictures[wanted], spec, random, args)))
        examples, of, importance = examples_of(several, alone, inputs, weights, random)
        answers = head(F.dropout(examples, args.dropout))
        loss = weighted(cross_entropy(answers, labels[of]), importance)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * one_cycle(step, steps)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(adapters, 1.0)
        optimiser.step()
        if not torch.isfinite(loss):
            raise SystemExit(f"step {step}: the loss is {loss.item()}; choose a lower --rate")
        if step % 20 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    write(args.out, encoder, spec)


def arguments() -> argparse.Namespace:
    here = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index.csv of the pictures")
    parser.add_argument("--images", type=Path, required=True, help="folder that its file names are relative to")
    parser.add_argument("--split", action="append", required=True, help="only this split (repeat the option)")
    parser.add_argument("--network", type=Path, required=True, help="the encoder's .onnx file, as set-up fetches it")
    parser.add_argument("--encoder", type=Path, default=here / "encoders/clip-vit-b16.json", help="its description")
    parser.add_argument("--cells", type=Path, default=here / "recipes/desktop/cells.json")
    parser.add_argument("--cell-embeddings", type=Path, default=here / "recipes/desktop/cell_embeddings.f32")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--steps", type=int, help="stop after so many steps")
    parser.add_argument("--places", type=int, default=20, help="places of several views in a step")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--head-rate", type=float, default=1e-3)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--colours", type=float, default=0.35, help="how far brightness, contrast and saturation vary")
    parser.add_argument("--cut", type=float, default=0.35, help="how much smaller than itself a square may be cut")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


# What is learned: labels and examples.


def soft_labels(rows: list[dict], cells_file: Path) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Probabilities over cells `[N, C]`, weights `[N]`, and which rows have a label."""
    cells = json.loads(cells_file.read_text())["cells"]
    means = vectors([(cell["lat"], cell["lng"]) for cell in cells])
    labels, weights = torch.zeros(len(rows), len(cells)), torch.zeros(len(rows))
    for i, row in enumerate(rows):
        if row["lat"]:
            chord = (means - vectors([(row["lat"], row["lng"])])).norm(dim=1)
            km = 2 * EARTH_KM * torch.asin((chord / 2).clamp(max=1))
            mass, weights[i] = torch.exp((km.min() - km) / TAU_KM), 1.0
        else:
            inside = [max(1, cell["count"]) if cell.get("country") == row["iso2"] else 0 for cell in cells]
            mass, weights[i] = torch.tensor(inside, dtype=torch.float64), COUNTRY_WEIGHT
        labels[i] = mass / mass.sum().clamp(min=1e-12)
    return labels, weights, [i for i in range(len(rows)) if labels[i].sum() > 0.5]


def vectors(degrees: list) -> torch.Tensor:
    lat, lng = torch.deg2rad(torch.tensor([[float(a), float(b)] for a, b in degrees], dtype=torch.float64)).T
    return torch.stack([lat.cos() * lng.cos(), lat.cos() * lng.sin(), lat.sin()], dim=1)


def groups(rows: list[dict]) -> tuple[list[list[int]], list[int]]:
    """The views of each place, and the pictures that know their country alone."""
    by_group: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row["lat"]:
            by_group.setdefault(row["group"], []).append(i)
    return list(by_group.values()), [i for i, row in enumerate(rows) if not row["lat"]]


def deck(cards: list, random: np.random.Generator):
    """Cards in a new order each time all have been drawn."""
    while True:
        yield from (cards[i] for i in random.permutation(len(cards)))


def examples_of(several, alone, inputs, weights, random):
    """Single views, and means of two or more of a place, which count four times as much together."""
    examples, of, importance, start = [], [], [], 0
    for group in several:
        views, n = inputs[start : start + len(group)], len(group)
        means = [m for m in range(2, n + 1) for _ in range(1 if m == n else 2)]
        for view in views:
            examples.append(view), of.append(group[0]), importance.append(0.2)
        for m in means:
            some = random.permutation(n)[:m]
            examples.append(views[some].mean(0)), of.append(group[0]), importance.append(0.8 * n / len(means))
        start += n
    for i, view in zip(alone, inputs[start:]):
        examples.append(view), of.append(i), importance.append(float(weights[i]))
    return torch.stack(examples), of, torch.tensor(importance, device=inputs.device)


def cross_entropy(logits, labels):
    return -(labels * F.log_softmax(logits, dim=1)).sum(1)


def weighted(losses, weights):
    return (losses * weights).sum() / weights.sum()


def one_cycle(step: int, steps: int) -> float:
    warm = 0.1 * steps
    return (step + 1) / warm if step + 1 < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


# What is seen: squares of pictures.


def square(file: Path) -> np.ndarray:
    picture = Image.open(file).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return np.asarray(picture.resize((PIXELS, PIXELS), Image.BICUBIC, (left, top, left + side, top + side)))


def looks(pictures, spec, random, args):
    """The encoder's inputs `[squares, N, 3, size, size]`: the whole of each picture, then each detail; with `random`,
    cut otherwise and in other colours each time."""
    x = pictures.permute(0, 3, 1, 2).float() / 255
    if random is not None:
        vary = lambda: 1 + args.colours * (2 * torch.rand(len(x), 1, 1, 1, device=x.device) - 1)
        x = x * vary()
        grey = x.mean((1, 2, 3), keepdim=True)
        x = (x - grey) * vary() + grey
        grey = x.mean(1, keepdim=True)
        x = ((x - grey) * vary() + grey).clamp(0, 1)
    how = spec["preprocess"]
    mean, std = (torch.tensor(how[name], device=x.device).view(1, 3, 1, 1) for name in ("mean", "std"))
    inputs = []
    for detail in [{"side": 1.0, "x": 0.5, "y": 0.5}, *how.get("details", [])]:
        side = int(PIXELS * detail["side"])
        left, top = round(detail["x"] * (PIXELS - side)), round(detail["y"] * (PIXELS - side))
        part = x[:, :, top : top + side, left : left + side]
        if random is not None:
            part = cut(x, left, top, side, random, args)
        part = F.interpolate(part, size=how["size"], mode="bicubic", antialias=True).clamp(0, 1)
        inputs.append(((part * 255).round() / 255 - mean) / std)
    return torch.stack(inputs)


def cut(x, left, top, side, random, args):
    """A smaller square, anywhere in the whole or near where the detail is, now and then blurred."""
    small, n = int(side * (1 - random.random() * args.cut)), len(x)

    def place(start):
        if side == PIXELS:
            return (random.random(n) * (side - small)).astype(int)
        return np.clip(start + (side - small) / 2 + random.normal(0, 12, n), 0, PIXELS - small).astype(int)

    lefts, tops = place(left), place(top)
    part = torch.stack([x[i, :, t : t + small, l : l + small] for i, (l, t) in enumerate(zip(lefts, tops))])
    if random.random() < 0.2:
        blurred = int(small * random.uniform(0.5, 0.8))
        part = F.interpolate(part, size=blurred, mode="bicubic", antialias=True)
    return part


# The networks.


class Adapted(nn.Module):
    """A frozen layer, and A `[rank, inputs]` and B `[outputs, rank]` that learn beside it."""

    def __init__(self, weights, bias, rank):
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("bias", bias)
        self.a = nn.Parameter(torch.randn(rank, weights.shape[1], device=weights.device) / math.sqrt(weights.shape[1]))
        self.b = nn.Parameter(torch.zeros(weights.shape[0], rank, device=weights.device))

    def forward(self, x):
        return F.linear(x, self.weights, self.bias) + F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))


class Encoder(nn.Module):
    """CLIP's vision transformer (Radford et al., arXiv:2103.00020) with the weights of a dynamically quantised file."""

    def __init__(self, file: Path, rank: int, device: torch.device):
        super().__init__()
        self.type = torch.bfloat16 if device.type == "cuda" else torch.float32
        graph = onnx.load(file).graph
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        floats = {name: array for name, array in arrays.items() if array.dtype == np.float32}
        self.frozen = {name: torch.from_numpy(array.copy()).to(device) for name, array in floats.items()}
        self.layers = nn.ModuleDict()
        for node in graph.node:
            if node.op_type != "MatMulInteger":
                continue
            name = node.name.removeprefix("/").removesuffix("/MatMul_quant").replace("/", ".")
            weights = arrays[node.input[1]] * arrays[node.input[1].replace("_quantized", "_scale")]
            weights = torch.from_numpy(np.ascontiguousarray(weights.T)).to(device, self.type)
            bias = self.frozen[name + ".bias"].to(self.type) if name + ".bias" in self.frozen else None
            self.layers[name.replace(".", "/")] = Adapted(weights, bias, rank)

    def layer(self, name):
        return self.layers[name.replace(".", "/")]

    def norm(self, x, name):
        weight, bias = self.frozen[name + ".weight"], self.frozen[name + ".bias"]
        return F.layer_norm(x.float(), (WIDTH,), weight, bias, 1e-5).to(self.type)

    def forward(self, x):
        """Unit embeddings `[N, 512]` of inputs `[N, 3, 224, 224]`."""
        first, patches, positions = (
            self.frozen[f"vision_model.embeddings.{name}"].to(self.type)
            for name in ("class_embedding", "patch_embedding.weight", "position_embedding.weight")
        )
        x = F.conv2d(x.to(self.type), patches, stride=PATCH).flatten(2).mT
        x = torch.cat([first.expand(len(x), 1, -1), x], 1) + positions
        x = self.norm(x, "vision_model.pre_layrnorm")
        for i in range(LAYERS):
            of = f"vision_model.encoder.layers.{i}."
            h = self.norm(x, of + "layer_norm1")
            q, k, v = (
                self.layer(f"{of}self_attn.{part}_proj")(h).unflatten(2, (HEADS, -1)).transpose(1, 2) for part in "qkv"
            )
            h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            x = x + self.layer(of + "self_attn.out_proj")(h)
            h = self.layer(of + "mlp.fc1")(self.norm(x, of + "layer_norm2"))
            x = x + self.layer(of + "mlp.fc2")(h * torch.sigmoid(1.702 * h))
        x = self.layer("visual_projection")(self.norm(x[:, 0], "vision_model.post_layernorm"))
        return F.normalize(x.float(), dim=1)

    def embed(self, inputs):
        """What a head sees of pictures, `[N, 512 squares]` of length 1, of inputs `[squares, N, 3, size, size]`."""
        parts = self(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        return parts.transpose(0, 1).flatten(1) / math.sqrt(len(inputs))


class Head(nn.Module):
    """Logits as inner products with embeddings of the cells; inputs standardised as the frozen encoder's are."""

    def __init__(self, frozen, cells):
        super().__init__()
        self.mean, self.deviation, self.cells = frozen.mean(0), frozen.std(0).clamp(min=1e-4), cells
        self.bridge = nn.Parameter(torch.zeros(frozen.shape[1], cells.shape[1], device=cells.device))
        self.bias = nn.Parameter(torch.zeros(len(cells), device=cells.device))

    def standardise(self, embeddings):
        return (embeddings - self.mean) / self.deviation

    def forward(self, x):
        return x @ self.bridge @ self.cells.T + self.bias


def learn_head(head, frozen, places, lonely, labels, weights, random, epochs=25, places_a_step=70):
    optimiser = torch.optim.AdamW(
        [{"params": [head.bridge], "weight_decay": 0.3}, {"params": [head.bias], "weight_decay": 0.1}]
    )
    steps = epochs * math.ceil(len(places) / places_a_step)
    singles = len(lonely) * places_a_step // len(places)
    draw_places, draw_lonely = deck(places, random), deck(lonely, random)
    inputs = head.standardise(frozen)
    for step in range(steps):
        several = [next(draw_places) for _ in range(min(places_a_step, len(places)))]
        alone = [next(draw_lonely) for _ in range(singles)]
        seen = inputs[[i for group in several for i in group] + alone]
        examples, of, importance = examples_of(several, alone, seen, weights, random)
        loss = weighted(cross_entropy(head(F.dropout(examples, 0.3)), labels[of]), importance)
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * one_cycle(step, steps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"the head on the encoder as it is: loss {loss.item():.3f}", flush=True)


def write(out: Path, encoder: Encoder, spec: dict) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, layer in encoder.layers.items():
        name = name.replace("/", ".")
        for letter, matrix in (("A", layer.a), ("B", layer.b)):
            tensors[f"{name}.lora_{letter}.weight"] = matrix.detach().half().cpu().contiguous()
    file = out / "adapter.safetensors"
    save_file(tensors, out / "adapter.part")
    (out / "adapter.part").rename(file)
    spec["encoder"]["adapter"] = {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    (out / "encoder.json").write_text(json.dumps(spec, indent=2) + "\n")
    print(f"wrote {out}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
