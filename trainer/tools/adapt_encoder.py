#!/usr/bin/env python3
"""Fine-tunes CLIP's image encoder on street-level images: LoRA adapters in every linear layer, trained with a head.

    python3 -m pip install numpy onnx pillow safetensors torch
    python3 trainer/tools/adapt_encoder.py --network encoder.onnx --index index.csv --images photos --split train \\
        --out runs/adapted

Writes `adapter.safetensors` and `encoder.json`, the input of `landfall-train embed --encoder`. The head is discarded;
`landfall-train fit` trains the one to keep. A GPU is recommended: the desktop bundle's adapter took two and a half
minutes on an H100, while one step on a CPU takes minutes.

The frozen weights are the dequantised int8 weights; activations are not rounded. LoRA: Hu et al., arXiv:2106.09685.
Labels, cells and multi-view examples follow trainer/recipes/desktop.toml.
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

PIXELS = 400  # side of the cached square images
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
        pixels = list(pool.map(centre_square, [args.images / row["file"] for row in rows], chunksize=32))
    images = torch.from_numpy(np.stack(pixels)).to(device)
    spec = json.loads(args.encoder.read_text())
    encoder = Encoder(args.network, args.rank, device)
    cells = torch.from_numpy(np.fromfile(args.cell_embeddings, "<f4").reshape(labels.shape[1], -1)).to(device)

    # Train the head first, on the frozen encoder: an untrained head would pass only noise to the adapters.
    with torch.no_grad():
        parts = [crops_of(images[i : i + 128], spec, None, args) for i in range(0, len(rows), 128)]
        frozen = torch.cat([encoder.embed(part) for part in parts])
    head = Head(frozen, cells)
    places, country_only = groups(rows)
    train_head(head, frozen, places, country_only, labels, weights, random)

    adapters = [p for name, p in encoder.named_parameters() if name.endswith((".a", ".b"))]
    optimiser = torch.optim.AdamW(
        [
            {"params": adapters, "weight_decay": 0.0, "peak": args.lr},
            {"params": [head.bridge], "weight_decay": 0.3, "peak": args.head_lr},
            {"params": [head.bias], "weight_decay": 0.1, "peak": args.head_lr},
        ]
    )
    steps = min(args.steps or 10**9, math.ceil(args.epochs * len(places) / args.places))
    singles = max(1, len(country_only) * args.places // len(places))  # so that both kinds of examples cover one epoch
    draw_places, draw_country_only = shuffled_cycle(places, random), shuffled_cycle(country_only, random)
    for step in range(steps):
        several = [next(draw_places) for _ in range(args.places)]
        alone = [next(draw_country_only) for _ in range(singles)] if country_only else []
        wanted = [i for group in several for i in group] + alone
        inputs = head.standardise(encoder.embed(crops_of(images[wanted], spec, random, args)))
        examples, of, example_weights = make_examples(several, alone, inputs, weights, random)
        answers = head(F.dropout(examples, args.dropout))
        loss = weighted(cross_entropy(answers, labels[of]), example_weights)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * one_cycle(step, steps)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(adapters, 1.0)
        optimiser.step()
        if not torch.isfinite(loss):
            raise SystemExit(f"step {step}: the loss is {loss.item()}; choose a lower --lr")
        if step % 20 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    write(args.out, encoder, spec)


def arguments() -> argparse.Namespace:
    here = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="index of the images (csv)")
    parser.add_argument("--images", type=Path, required=True, help="folder that the index's file names are relative to")
    parser.add_argument("--split", action="append", required=True, help="split to train on (repeat the option)")
    parser.add_argument("--network", type=Path, required=True, help="the encoder's .onnx file, from `cargo xtask setup`")
    parser.add_argument("--encoder", type=Path, default=here / "encoders/clip-vit-b16.json", help="encoder description")
    parser.add_argument("--cells", type=Path, default=here / "recipes/desktop/cells.json")
    parser.add_argument("--cell-embeddings", type=Path, default=here / "recipes/desktop/cell_embeddings.f32")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--steps", type=int, help="maximum number of steps")
    parser.add_argument("--places", type=int, default=20, help="places with several views per step")
    parser.add_argument("--lr", "--rate", type=float, default=3e-4, help="peak learning rate of the adapters")
    parser.add_argument("--head-lr", "--head-rate", type=float, default=1e-3, help="peak learning rate of the head")
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--colours", type=float, default=0.35, help="brightness, contrast and saturation jitter")
    parser.add_argument("--cut", type=float, default=0.35, help="largest share removed by random cropping")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


# Labels and examples.


def soft_labels(rows: list[dict], cells_file: Path) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Probabilities over cells `[N, C]`, weights `[N]`, and the indices of rows with a label."""
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
    """Rows grouped by place, and the rows with a country label only."""
    by_group: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row["lat"]:
            by_group.setdefault(row["group"], []).append(i)
    return list(by_group.values()), [i for i, row in enumerate(rows) if not row["lat"]]


def shuffled_cycle(items: list, random: np.random.Generator):
    """Yields all items in random order, reshuffled after each pass."""
    while True:
        yield from (items[i] for i in random.permutation(len(items)))


def make_examples(several, alone, inputs, weights, random):
    """Single views, and means of two or more views of a place, which together weigh four times as much."""
    examples, of, example_weights, start = [], [], [], 0
    for group in several:
        views, n = inputs[start : start + len(group)], len(group)
        means = [m for m in range(2, n + 1) for _ in range(1 if m == n else 2)]
        for view in views:
            examples.append(view), of.append(group[0]), example_weights.append(0.2)
        for m in means:
            some = random.permutation(n)[:m]
            examples.append(views[some].mean(0)), of.append(group[0]), example_weights.append(0.8 * n / len(means))
        start += n
    for i, view in zip(alone, inputs[start:]):
        examples.append(view), of.append(i), example_weights.append(float(weights[i]))
    return torch.stack(examples), of, torch.tensor(example_weights, device=inputs.device)


def cross_entropy(logits, labels):
    return -(labels * F.log_softmax(logits, dim=1)).sum(1)


def weighted(losses, weights):
    return (losses * weights).sum() / weights.sum()


def one_cycle(step: int, steps: int) -> float:
    warm = 0.1 * steps
    return (step + 1) / warm if step + 1 < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


# Images and crops.


def centre_square(file: Path) -> np.ndarray:
    image = Image.open(file).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.resize((PIXELS, PIXELS), Image.BICUBIC, (left, top, left + side, top + side)))


def crops_of(images, spec, random, args):
    """The encoder's inputs `[crops, N, 3, size, size]`: the whole of each image, then each detail crop. With `random`,
    crops and colours are augmented."""
    x = images.permute(0, 3, 1, 2).float() / 255
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
            part = random_crop(x, left, top, side, random, args)
        part = F.interpolate(part, size=how["size"], mode="bicubic", antialias=True).clamp(0, 1)
        inputs.append(((part * 255).round() / 255 - mean) / std)
    return torch.stack(inputs)


def random_crop(x, left, top, side, random, args):
    """A random smaller crop, anywhere in the whole image or near the detail's position, sometimes blurred."""
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


# Networks.


class LoraLinear(nn.Module):
    """A frozen linear layer with trainable low-rank matrices A `[rank, inputs]` and B `[outputs, rank]`."""

    def __init__(self, weights, bias, rank):
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("bias", bias)
        self.a = nn.Parameter(torch.randn(rank, weights.shape[1], device=weights.device) / math.sqrt(weights.shape[1]))
        self.b = nn.Parameter(torch.zeros(weights.shape[0], rank, device=weights.device))

    def forward(self, x):
        return F.linear(x, self.weights, self.bias) + F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))


class Encoder(nn.Module):
    """CLIP's vision transformer (Radford et al., arXiv:2103.00020) with the weights of a quantised ONNX file."""

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
            self.layers[name.replace(".", "/")] = LoraLinear(weights, bias, rank)

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
        """Inputs of the head, `[N, 512 * crops]` with unit norm, from encoder inputs `[crops, N, 3, size, size]`."""
        parts = self(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        return parts.transpose(0, 1).flatten(1) / math.sqrt(len(inputs))


class Head(nn.Module):
    """Logits as inner products with the cell embeddings; inputs are standardised with the frozen encoder's moments."""

    def __init__(self, frozen, cells):
        super().__init__()
        self.mean, self.deviation, self.cells = frozen.mean(0), frozen.std(0).clamp(min=1e-4), cells
        self.bridge = nn.Parameter(torch.zeros(frozen.shape[1], cells.shape[1], device=cells.device))
        self.bias = nn.Parameter(torch.zeros(len(cells), device=cells.device))

    def standardise(self, embeddings):
        return (embeddings - self.mean) / self.deviation

    def forward(self, x):
        return x @ self.bridge @ self.cells.T + self.bias


def train_head(head, frozen, places, country_only, labels, weights, random, epochs=25, places_per_step=70):
    optimiser = torch.optim.AdamW(
        [{"params": [head.bridge], "weight_decay": 0.3}, {"params": [head.bias], "weight_decay": 0.1}]
    )
    steps = epochs * math.ceil(len(places) / places_per_step)
    singles = len(country_only) * places_per_step // len(places)
    draw_places, draw_country_only = shuffled_cycle(places, random), shuffled_cycle(country_only, random)
    inputs = head.standardise(frozen)
    for step in range(steps):
        several = [next(draw_places) for _ in range(min(places_per_step, len(places)))]
        alone = [next(draw_country_only) for _ in range(singles)]
        seen = inputs[[i for group in several for i in group] + alone]
        examples, of, example_weights = make_examples(several, alone, seen, weights, random)
        loss = weighted(cross_entropy(head(F.dropout(examples, 0.3)), labels[of]), example_weights)
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * one_cycle(step, steps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"head on the frozen encoder: loss {loss.item():.3f}", flush=True)


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
