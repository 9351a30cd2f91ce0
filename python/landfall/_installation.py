"""Where this package lies, and the ONNX Runtime of this Python."""

import site
from pathlib import Path

PACKAGE_DIR = str(Path(__file__).resolve().parent)

# The names that the library has on Linux, macOS and Windows.
_LIBRARIES = ("libonnxruntime.so.*", "libonnxruntime.*.dylib", "onnxruntime.dll")


def onnxruntime_library() -> str | None:
    """The library in the package onnxruntime, if that is installed.

    Python also imports from the working directory, whose files may come from anyone, so only the directories that pip
    installs to are searched. The package is not imported, which would take longer than a prediction.
    """
    directories = [str(Path(PACKAGE_DIR).parent), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        directories.append(site.getusersitepackages())
    for directory in directories:
        folder = Path(directory, "onnxruntime", "capi")
        found = sorted(file for pattern in _LIBRARIES for file in folder.glob(pattern) if file.is_file())
        if found:
            return str(found[-1])
    return None
