"""Predicts where photographs were taken.

>>> import landfall
>>> geolocator = landfall.Geolocator("pocket")
>>> prediction = geolocator.locate("photo.jpg")
>>> print(prediction.place, prediction.lat, prediction.lng, prediction.radius_50_km)
"""

from landfall._landfall import Geolocator, __version__
from landfall._prediction import Candidate, Prediction

__all__ = ["Candidate", "Geolocator", "Prediction", "__version__"]
