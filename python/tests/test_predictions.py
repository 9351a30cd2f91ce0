"""Predictions: from paths, bytes and arrays, alone and in threads."""

import dataclasses
import json
import math
import pickle
import struct
import threading
import unittest
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import landfall
from landfall import Candidate, Geolocator, Prediction
from support import PHOTOS, ROOT, landfall_program

try:
    import numpy
except ImportError:
    numpy = None  # type: ignore[assignment]


def image_file(data: bytes, width: int, height: int) -> bytes:
    """A PNG file with these pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + data[row : row + 3 * width] for row in range(0, len(data), 3 * width))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# A sky above a meadow, with enough variation that a wrong order of rows, columns or channels changes the prediction.
WIDTH, HEIGHT = 320, 240
PIXELS = bytes(
    value
    for y in range(HEIGHT)
    for x in range(WIDTH)
    for value in ((90, 140, 160 + x // 4) if y < 100 + x // 8 else (60 + x * y % 50, 120 - y // 4, 40))
)
PNG = image_file(PIXELS, WIDTH, HEIGHT)


class PillowLike:
    """As much of a Pillow image as is used: it has no buffer."""

    def __init__(self, shape: tuple[int, ...], kind: str = "|u1", data: bytes = PIXELS) -> None:
        self.__array_interface__: dict[str, Any] = {"shape": shape, "typestr": kind, "version": 3, "data": data}


class Predictions(unittest.TestCase):
    geolocator: Geolocator

    @classmethod
    def setUpClass(cls) -> None:
        cls.geolocator = Geolocator("pocket")

    def assert_same_as_cli(self, prediction: Prediction, line: str) -> None:
        expected = json.loads(line)
        self.assertEqual(self.geolocator.bundle, expected["bundle"])
        for name in ["lat", "lng", "place", "country", "expected_score"]:
            self.assertEqual(getattr(prediction, name), expected[name], name)
        radii = {"p50": prediction.radius_50_km, "p90": prediction.radius_90_km}
        # Half a kilometre is rounded to even numbers by Python only.
        self.assertEqual({name: math.floor(km + 0.5) for name, km in radii.items()}, expected["radius_km"])
        self.assertEqual(prediction.candidates, tuple(Candidate(**cell) for cell in expected["top"]))

    def test_are_those_of_the_command_line(self) -> None:
        files = [str(file) for file in PHOTOS]
        lines = landfall_program("locate", "--json", "--bundle", "pocket", *files).stdout.splitlines()
        self.assertEqual(len(lines), len(files))
        for file, line in zip(files, lines):
            self.assert_same_as_cli(self.geolocator.locate([file]), line)
        [line] = landfall_program("locate", "--json", "--bundle", "pocket", "--one-place", *files).stdout.splitlines()
        self.assert_same_as_cli(self.geolocator.locate(PHOTOS), line)

    def test_are_those_of_other_machines(self) -> None:
        lines = (ROOT / "model/tests/golden/locate.jsonl").read_text().splitlines()
        golden = {(line["image"], line["bundle"]): line for line in map(json.loads, lines)}
        for file in PHOTOS:
            expected = golden[file.relative_to(ROOT).as_posix(), self.geolocator.bundle]
            prediction = self.geolocator.locate(file)
            self.assertEqual((prediction.place, prediction.country), (expected["place"], expected["country"]))
            for name in ["lat", "lng"]:
                self.assertAlmostEqual(getattr(prediction, name), expected[name], places=3)
            for candidate, cell in zip(prediction.candidates, expected["top"], strict=True):
                # The bound of the program's own test with this file.
                self.assertLess(abs(math.log(candidate.p / cell["p"])), 1e-2)

    def test_are_the_same_for_path_bytes_and_buffers(self) -> None:
        file = PHOTOS[0]
        expected = self.geolocator.locate([file])
        data = file.read_bytes()
        kinds: list[Any] = [str(file), file, data, bytearray(data), memoryview(data)]
        for image in kinds:
            for images in [image, [image], (image,), iter([image])]:
                self.assertEqual(self.geolocator.locate(images), expected, type(image))

    def test_are_the_same_for_a_file_and_its_pixels(self) -> None:
        expected = self.geolocator.locate(PNG)
        pixels = memoryview(PIXELS).cast("B", (HEIGHT, WIDTH, 3))
        self.assertEqual(self.geolocator.locate(pixels), expected)
        self.assertEqual(self.geolocator.locate([PillowLike((HEIGHT, WIDTH, 3))]), expected)
        # A prediction that the order of the pixels does not change would show nothing.
        turned = memoryview(PIXELS).cast("B", (WIDTH, HEIGHT, 3))
        self.assertNotEqual(self.geolocator.locate(turned), expected)

    @unittest.skipIf(numpy is None, "numpy is not installed")
    def test_are_the_same_for_numpy_arrays(self) -> None:
        array = numpy.frombuffer(PIXELS, numpy.uint8).reshape(HEIGHT, WIDTH, 3)
        expected = self.geolocator.locate(PNG)
        self.assertEqual(self.geolocator.locate(array), expected)
        self.assertEqual(self.geolocator.locate([numpy.asfortranarray(array)]), expected)
        # Strides that are not those of contiguous pixels, and negative ones.
        blue_green_red = numpy.ascontiguousarray(array[:, :, ::-1])
        self.assertNotEqual(self.geolocator.locate(blue_green_red), expected)
        self.assertEqual(self.geolocator.locate(blue_green_red[:, :, ::-1]), expected)
        self.assertEqual(self.geolocator.locate(numpy.frombuffer(PNG, numpy.uint8)), expected)
        for wrong in [array.astype(float), array[:, :, 0], array.astype(numpy.int8)]:
            with self.assertRaisesRegex(ValueError, "image 0: the (numbers|shape) of an array must be"):
                self.geolocator.locate([wrong])

    def test_of_each_image_are_those_of_the_images_alone(self) -> None:
        images: list[Any] = [*PHOTOS, PNG, PHOTOS[0].read_bytes(), *PHOTOS]
        expected = [self.geolocator.locate(image) for image in images]
        self.assertEqual(self.geolocator.locate_each(images), expected)
        self.assertEqual(self.geolocator.locate_each(iter(images)), expected)
        self.assertEqual(self.geolocator.locate_each([]), [])

    def test_of_several_threads_are_those_of_one(self) -> None:
        expected = [self.geolocator.locate(file) for file in PHOTOS]
        with ThreadPoolExecutor(4) as threads:
            tasks = [threads.submit(self.geolocator.locate, file) for file in PHOTOS * 4]
            self.assertEqual([task.result() for task in tasks], expected * 4)

    def test_do_not_hold_the_gil(self) -> None:
        ticks, done = 0, threading.Event()

        def count() -> None:
            nonlocal ticks
            while not done.wait(0.001):
                ticks += 1

        counter = threading.Thread(target=count)
        counter.start()
        before = ticks
        self.geolocator.locate(PHOTOS)
        after = ticks
        done.set()
        counter.join()
        self.assertGreater(after - before, 10)

    def test_are_plain_objects(self) -> None:
        prediction = self.geolocator.locate(PHOTOS[0])
        self.assertEqual(pickle.loads(pickle.dumps(prediction)), prediction)
        self.assertEqual(json.loads(json.dumps(dataclasses.asdict(prediction)))["place"], prediction.place)
        self.assertEqual(len(prediction.candidates), 10)
        self.assertLessEqual(prediction.radius_50_km, prediction.radius_90_km)
        with self.assertRaises(dataclasses.FrozenInstanceError):
            prediction.lat = 0.0  # type: ignore[misc]

    def test_of_damaged_files_come_with_a_warning(self) -> None:
        data = PHOTOS[0].read_bytes()
        with self.assertWarnsRegex(UserWarning, "image 1: the JPEG file is cut off: the last . % of the picture"):
            self.geolocator.locate([PHOTOS[1], data[: len(data) * 97 // 100]])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.geolocator.locate(data)


class WrongInputs(unittest.TestCase):
    def test_are_errors_that_say_what_is_wrong(self) -> None:
        geolocator = Geolocator()
        text = ROOT / "README.md"
        cases: list[tuple[Any, type[Exception], str]] = [
            ([], ValueError, "^no image to locate$"),
            ([PHOTOS[0], "no/such.jpg"], FileNotFoundError, r"^\[Errno 2\] No such file or directory: 'no/such.jpg'$"),
            (Path("no/such.jpg"), FileNotFoundError, "such.jpg"),
            (ROOT, ValueError, "it is a directory"),
            (text, ValueError, r"README.md: not a readable image: the file is text, not a picture$"),
            ([PNG, text.read_bytes()], ValueError, "^image 1: the file is text, not a picture$"),
            (PHOTOS[0].read_bytes()[:5000], ValueError, "^image 0: the JPEG file is cut off"),
            (b"", ValueError, "^image 0: the file is empty$"),
            ("photo\0.jpg", ValueError, "NUL byte$"),
            ([1], TypeError, "^image 0 is int: give a path"),
            ([[PHOTOS[0]]], TypeError, "^image 0 is list: give a path"),
            (None, TypeError, "^the argument is NoneType: give a path"),
            (memoryview(PIXELS).cast("B", (HEIGHT, WIDTH * 3)), ValueError, r"shape .* not \(240, 960\)$"),
            (memoryview(PIXELS[:32]).cast("B", (2, 4, 4)), ValueError, r"shape .* not \(2, 4, 4\)$"),
            (memoryview(PIXELS[:24]).cast("f"), ValueError, "type uint8, not `f`$"),
            (PillowLike((0, 4, 3), data=b""), ValueError, "^image 0 has no pixels$"),
            (PillowLike((HEIGHT, WIDTH, 3), "<f4"), ValueError, "type uint8, not `<f4`$"),
            (PillowLike((HEIGHT, WIDTH + 1, 3)), ValueError, "shape"),
        ]
        for images, kind, message in cases:
            with self.subTest(message), self.assertRaisesRegex(kind, message):
                geolocator.locate(images)
        for one in [PHOTOS[0], str(PHOTOS[0]), PNG]:
            with self.assertRaisesRegex(TypeError, "give a list"):
                geolocator.locate_each(one)  # type: ignore[arg-type]

    def test_include_bundles(self) -> None:
        with self.assertRaisesRegex(ValueError, "no bundle `nonesuch`; available: pocket"):
            Geolocator("nonesuch")
        with self.assertRaises(FileNotFoundError):
            Geolocator(Path("nonesuch"))
        with self.assertRaisesRegex(TypeError, "expected str, bytes or os.PathLike object, not int"):
            Geolocator(1)  # type: ignore[arg-type]

    def test_version_is_that_of_the_program(self) -> None:
        self.assertEqual(landfall_program("--version").stdout, f"landfall {landfall.__version__}\n")
