#!/usr/bin/env python3
"""Measures what more training data would bring: heads trained on nested parts of an index, and a chart of their results.

    python3 trainer/tools/learning_curve.py subset index.csv --share 1/8 --out eighth.csv
    landfall-train fit --recipe trainer/recipes/desktop.toml --index eighth.csv --out heads/eighth   # export, evaluate --json
    python3 trainer/tools/learning_curve.py draw --series "travel photographs" 1/8=eighth.json 1=all.json --out curve.svg

`subset` keeps a share of the groups of the split `train` and all rows of the other splits. Each subset contains all
smaller ones. `draw` reads the output of `landfall-train evaluate --json`; repeat --series for further evaluation sets. It
needs nothing but Python.
"""

import argparse
import csv
import hashlib
import json
import math
from fractions import Fraction
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 640, 400  # pixels
LEFT, RIGHT, TOP, BOTTOM = 64, 200, 24, 56  # margins in pixels
COLOURS = ["#1b6ca8", "#c4511d", "#2d7d46", "#7a4fa3", "#8a6d00"]
GRID_POINTS = 500  # points between horizontal lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    subset_parser = commands.add_parser("subset", help="write an index with a share of the training groups")
    subset_parser.add_argument("index", type=Path)
    subset_parser.add_argument("--share", type=Fraction, required=True, help="share of the groups, such as 1/8")
    subset_parser.add_argument("--out", type=Path, required=True)
    subset_parser.set_defaults(run=subset)
    draw_parser = commands.add_parser("draw", help="draw the results as SVG")
    draw_parser.add_argument("--series", nargs="+", action="append", required=True, metavar=("NAME", "SHARE=FILE"))
    draw_parser.add_argument("--out", type=Path, required=True)
    draw_parser.set_defaults(run=draw)
    args = parser.parse_args()
    args.run(args)


def subset(args: argparse.Namespace) -> None:
    with open(args.index, newline="", encoding="utf-8") as table:
        reader = csv.DictReader(table)
        columns, rows = reader.fieldnames, list(reader)
    if not columns or not {"split", "group"} <= set(columns):
        raise SystemExit(f"{args.index}: an index has the columns `split` and `group`")
    kept = [row for row in rows if row["split"] != "train" or position(row["group"]) < args.share]
    with open(args.out, "w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    trained = sum(row["split"] == "train" for row in kept)
    print(f"wrote {args.out}: {trained} of {sum(row['split'] == 'train' for row in rows)} training images")


def position(group: str) -> Fraction:
    """A fixed position of a group in [0, 1), so that subsets are nested."""
    return Fraction(int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big"), 1 << 64)


def draw(args: argparse.Namespace) -> None:
    series = [(name, sorted(map(read_point, points))) for name, *points in args.series]
    shares = [math.log2(share) for _, points in series for share, _ in points]
    scores = [score for _, points in series for _, score in points]
    if not scores or min(shares) == max(shares):
        raise SystemExit("give each series at least two shares")
    low, high = (GRID_POINTS * f(x / GRID_POINTS) for f, x in ((math.floor, min(scores)), (math.ceil, max(scores))))
    high = max(high, low + GRID_POINTS)

    def x(share: float) -> float:
        return LEFT + (math.log2(share) - min(shares)) / (max(shares) - min(shares)) * (WIDTH - LEFT - RIGHT)

    def y(score: float) -> float:
        return HEIGHT - BOTTOM - (score - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def text(at_x: float, at_y: float, content: str, anchor: str = "middle", colour: str = "#222") -> str:
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(content)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for score in range(int(low), int(high) + 1, GRID_POINTS):
        parts.append(f'<path d="M{LEFT} {y(score):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(text(LEFT - 8, y(score) + 4, f"{score:,}", "end"))
    for share in sorted({share for _, points in series for share, _ in points}):
        parts.append(text(x(share), HEIGHT - BOTTOM + 20, str(Fraction(share).limit_denominator(64))))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "share of the groups of training images"))
    parts.append(text(LEFT, TOP - 8, "points", "end"))
    for (name, points), colour in zip(series, COLOURS * len(series)):
        line = " ".join(f"{x(share):.1f},{y(score):.1f}" for share, score in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(share):.1f}" cy="{y(score):.1f}" r="3.5" fill="{colour}"/>' for share, score in points]
        share, score = points[-1]
        parts.append(text(x(share) + 10, y(score) + 4, f"{name}: {score:,.0f}", "start", colour))
    args.out.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def read_point(argument: str) -> tuple[float, float]:
    share, _, file = argument.partition("=")
    if not file:
        raise SystemExit(f"{argument}: write SHARE=FILE, such as 1/8=eighth.json")
    return float(Fraction(share)), json.loads(Path(file).read_text())["geoscore"]


if __name__ == "__main__":
    main()
