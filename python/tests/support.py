"""What several tests use."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = [
    ROOT / "fixtures/rounds" / name
    for name in [
        "brooklyn-elevated-railway/view_270.jpg",
        "rome-colosseum/view_000.jpg",
        "sydney-opera-house/view_000.jpg",
    ]
]


def landfall_program(*arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m landfall``, which must end with this exit code, if one is given."""
    run = subprocess.run([sys.executable, "-m", "landfall", *arguments], capture_output=True, encoding="utf-8")
    assert code is None or run.returncode == code, run
    return run
