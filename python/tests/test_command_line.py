"""``python -m landfall`` and interruptions."""

import _thread
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from collections.abc import Iterator
from pathlib import Path

import landfall
from support import PHOTOS, ROOT, landfall_program


class CommandLine(unittest.TestCase):
    def test_ends_with_the_exit_codes_of_the_program(self) -> None:
        self.assertIn("Usage: landfall", landfall_program("--help").stdout)
        usage = landfall_program("locate", "no/such.jpg", code=2)
        self.assertIn("no/such.jpg", usage.stderr)
        self.assertIn("Usage: landfall locate", landfall_program("locate", "--nonesuch", code=2).stderr)
        with tempfile.TemporaryDirectory() as bundle:
            (Path(bundle) / "bundle.json").write_text("{}")
            environment = landfall_program("locate", "--bundle", bundle, str(PHOTOS[0]), code=3)
        self.assertIn("bundle.json: not a valid bundle description", environment.stderr)
        for run in [usage, environment]:
            self.assertNotIn("Traceback", run.stderr)

    def test_is_also_a_script(self) -> None:
        script = shutil.which("landfall", path=str(Path(sys.executable).parent))
        assert script is not None
        run = subprocess.run([script, "locate", "--json", str(PHOTOS[0])], capture_output=True, encoding="utf-8")
        self.assertEqual((run.returncode, len(run.stdout.splitlines())), (0, 1), run.stderr)

    @unittest.skipIf(sys.platform == "win32", "signals are those of Unix")
    def test_is_stopped_by_signals(self) -> None:
        for number, code in [(signal.SIGINT, 130), (signal.SIGTERM, 143)]:
            command = [sys.executable, "-m", "landfall", "locate", "--json", str(ROOT / "fixtures/rounds")]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as run:
                assert run.stdout is not None
                self.assertIn("fixtures/rounds", run.stdout.readline())
                run.send_signal(number)
                messages = run.communicate()[1]
            self.assertEqual(run.returncode, code, messages)
            self.assertNotIn("Traceback", messages)


class Interruptions(unittest.TestCase):
    def test_end_a_long_call_with_keyboard_interrupt(self) -> None:
        geolocator = landfall.Geolocator()
        interrupt = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
        if sys.platform == "win32":
            interrupt = threading.Timer(0.5, _thread.interrupt_main)
        located = 0

        def photos() -> Iterator[Path]:
            nonlocal located
            for located in range(10_000):
                yield PHOTOS[0]

        interrupt.start()
        with self.assertRaises(KeyboardInterrupt):
            geolocator.locate_each(photos())
        self.assertTrue(0 < located < 9_000, located)
