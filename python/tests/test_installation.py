"""What the package finds: its bundle, ONNX Runtime, and nothing in the working directory."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import landfall
from landfall import _installation
from support import PHOTOS, landfall_program

HAS_ONNXRUNTIME = importlib.util.find_spec("onnxruntime") is not None


def python(code: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with the working directory in its search path, as an interactive Python has."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | environment
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, encoding="utf-8", check=True)


class Installation(unittest.TestCase):
    def test_has_the_pocket_bundle_inside(self) -> None:
        package = Path(landfall.__file__).parent
        listed = json.loads(landfall_program("bundle", "list", "--json").stdout)
        self.assertEqual([(bundle["name"], bundle["dir"]) for bundle in listed], [("pocket", f"{package}/bundles/pocket")])
        self.assertTrue((package / "bundles/pocket/MODEL_CARD.md").is_file())

    def test_uses_the_onnx_runtime_of_this_python(self) -> None:
        library = _installation.onnxruntime_library()
        engine = landfall.Geolocator().engine
        if HAS_ONNXRUNTIME:
            assert library is not None
            import onnxruntime  # type: ignore[import-untyped, unused-ignore]

            self.assertEqual(engine, f"ONNX Runtime {onnxruntime.__version__}")
            # Whatever else is missing on this machine.
            doctor = landfall_program("doctor", "--json", code=None).stdout
            self.assertIn(f"(of the Python package onnxruntime), {library}", doctor)
        else:
            self.assertIsNone(library)
            self.assertRegex(engine, r"^rten 0\.")

    def test_looks_for_nothing_in_the_working_directory(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            for library in ["libonnxruntime.so.1.99.0", "libonnxruntime.1.99.0.dylib", "onnxruntime.dll"]:
                for folder in ["onnxruntime/capi", "."]:
                    (directory / folder).mkdir(parents=True, exist_ok=True)
                    (directory / folder / library).write_text("hostile")
            (directory / "onnxruntime/__init__.py").write_text("raise SystemExit('hostile')")
            (directory / "bundles/pocket").mkdir(parents=True)
            (directory / "bundles/pocket/bundle.json").write_text("hostile")
            run = python("import landfall; print(landfall.Geolocator().engine)", directory)
            self.assertEqual((run.stdout.strip(), run.stderr), (landfall.Geolocator().engine, ""))

    def test_does_without_an_onnx_runtime_that_cannot_be_used(self) -> None:
        code = (
            "import landfall, landfall._installation as installation\n"
            "installation.onnxruntime_library = lambda: 'libonnxruntime.so.1.99.0'\n"
            "for _ in range(2): print(landfall.Geolocator().engine)"
        )
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "libonnxruntime.so.1.99.0").write_text("not a library")
            run = python(code, Path(name))
        self.assertRegex(run.stdout, r"^rten 0\.\S+\nrten 0\.\S+\n$")
        warning = "RuntimeWarning: libonnxruntime.so.1.99.0 is not used: it is a text or another file, not a library"
        self.assertEqual(run.stderr.count(warning), 1, run.stderr)

    @unittest.skipUnless(HAS_ONNXRUNTIME, "onnxruntime is not installed")
    def test_works_beside_onnxruntime_in_one_process(self) -> None:
        photo = str(PHOTOS[0])
        expected = landfall.Geolocator().locate(photo).place
        located = f"print(landfall.Geolocator().locate({photo!r}).place)"
        for code in [f"import onnxruntime, landfall; {located}", f"import landfall; {located}; import onnxruntime"]:
            run = python(code, Path(tempfile.gettempdir()))
            self.assertEqual(run.stdout, f"{expected}\n", run.stderr)
