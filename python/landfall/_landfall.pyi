import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias, final

from typing_extensions import Buffer, Self

from landfall._prediction import Prediction

__all__ = ["Geolocator", "main", "__version__"]

__version__: str

class _Array(Protocol):
    @property
    def __array_interface__(self) -> dict[str, Any]: ...

# A path; the bytes of an image file; or pixels as an array of numpy.uint8, of shape (height, width, 3) for red, green and
# blue.
_Image: TypeAlias = str | os.PathLike[str] | Buffer | _Array

@final
class Geolocator:
    def __new__(cls, bundle: str | os.PathLike[str] = "pocket") -> Self: ...
    @property
    def bundle(self) -> str: ...
    @property
    def engine(self) -> str: ...
    def locate(self, images: _Image | Iterable[_Image]) -> Prediction: ...
    def locate_each(self, images: Iterable[_Image]) -> list[Prediction]: ...

def main(command_line: Sequence[str]) -> int: ...
