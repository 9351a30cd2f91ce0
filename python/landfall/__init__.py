"""Predicts where photographs were taken.

>>> import landfall
>>> geolocator = landfall.Geolocator("pocket")
>>> prediction = geolocator.locate("photo.jpg")
>>> print(prediction.place, prediction.lat, prediction.lng, prediction.radius_50_km)
"""

import os

# ONNX Runtime starts its telemetry when it is initialised, before a program can turn it off.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from landfall._landfall import Geolocator, __version__
from landfall._prediction import Candidate, Prediction

__all__ = ["Candidate", "Geolocator", "Prediction", "__version__"]
