"""The command line: ``python -m landfall`` and ``landfall``."""

import signal
import sys

from landfall import _landfall


def main() -> int:
    # Python's own handler would raise KeyboardInterrupt after the command has ended with an exit code of its own.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _landfall.main(["landfall", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
