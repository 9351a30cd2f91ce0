"""What a prediction consists of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cell of the bundle and its probability."""

    cell: str
    """S2 token of the cell."""
    lat: float
    """Latitude in degrees of the mean location of the training places in the cell."""
    lng: float
    """Longitude in degrees of the same."""
    p: float
    """Probability of the cell, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Where a photograph was probably taken, and how certain that is."""

    lat: float
    """Latitude in degrees."""
    lng: float
    """Longitude in degrees."""
    place: str
    """The location in words, such as ``near Lyon, France`` or ``at sea``."""
    country: str | None
    """ISO 3166-1 alpha-2 code of the country at the location; None more than 50 km off any coast."""
    expected_score: float
    """Expected points of a guess at the location on the World map of a game, 0 to 5000."""
    radius_50_km: float
    """Radius in kilometres around the location of the circle that holds 50 % of the probability."""
    radius_90_km: float
    """Radius in kilometres around the location of the circle that holds 90 % of the probability."""
    candidates: tuple[Candidate, ...]
    """The ten most likely cells, most likely first."""
