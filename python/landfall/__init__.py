"""Predicts where photographs were taken.

>>> import landfall
>>> geolocator = landfall.Geolocator("pocket")
>>> prediction = geolocator.locate("photo.jpg")
>>> print(prediction.place, prediction.lat, prediction.lng, prediction.radius_50_km)
"""

from importlib.metadata import version as _version

from landfall._landfall import Geolocator
from landfall._prediction import Candidate, Prediction

__all__ = ["Candidate", "Geolocator", "Prediction"]

__version__ = _version("landfall")
