#!/usr/bin/env python3
"""Makes the golden pictures of the preprocessing with Pillow, an independent implementation of the same resize.

usage: make.py PHOTO      (needs Pillow; PHOTO was fixtures/rounds/berlin-potsdamer-platz/pano.jpg)

wide.png, tall.png and small.png are cuts of PHOTO; NAME_224.png is what Pillow makes of each and preprocessing must, but for rounding.
"""
import sys
from pathlib import Path

from PIL import Image

here = Path(__file__).parent
photo = Image.open(sys.argv[1]).convert("RGB")
cuts = {"wide": (40, 30, 371, 230), "tall": (200, 10, 321, 246), "small": (300, 90, 390, 160)}
for name, box in cuts.items():
    picture = photo.crop(box)
    picture.save(here / f"{name}.png", optimize=True)
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    square = picture.resize((224, 224), Image.BICUBIC, box=(left, top, left + side, top + side))
    square.save(here / f"{name}_224.png", optimize=True)
