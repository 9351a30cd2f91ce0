"""Fills the Homebrew formula of a release: python3 packaging/formula.py VERSION SHA256SUMS > landfall.rb"""

import pathlib
import re
import sys

version, sums = sys.argv[1:]
lines = pathlib.Path(sums).read_text().splitlines()
checksums = {name: checksum for checksum, name in (line.split(maxsplit=1) for line in lines)}
template = pathlib.Path(__file__).with_name("landfall.rb.in").read_text().replace("@VERSION@", version)
missing = []


def checksum(match: re.Match[str]) -> str:
    name = f"landfall-{version}-{match[1]}.tar.gz"
    if name not in checksums:
        missing.append(name)
    return checksums.get(name, "")


formula = re.sub(r"@SHA256:([\w-]+)@", checksum, template)
if missing:
    sys.exit(f"{sums} has no checksum of {', '.join(missing)}")
print(formula, end="")
