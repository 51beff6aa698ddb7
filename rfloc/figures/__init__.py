"""Figures: one function a figure, axes in, axes out.

Every map has axes in metres of the city's local frame; every method has one colour and line style in all figures, from
Okabe and Ito's palette, which colour-blind readers can tell apart. Colour says what a network was pretrained on, a
solid line that it has seen measurements. Legends stand outside the data: lay figures out with `layout="constrained"`.
"""

from rfloc.figures.maps import (
    calibration_map,
    city_map,
    crop_input,
    posterior_map,
    radio_map,
    scale_bar,
    split_map,
    stations,
)
from rfloc.figures.scores import calibration_gain, error_cdf, feature_distributions, known_unknown
from rfloc.figures.style import METHOD_COLOURS, METHODS, OKABE_ITO, ROLE_COLOURS, ROLE_LABELS, STYLE, method_style

__all__ = [
    "METHODS",
    "METHOD_COLOURS",
    "OKABE_ITO",
    "ROLE_COLOURS",
    "ROLE_LABELS",
    "STYLE",
    "calibration_gain",
    "calibration_map",
    "city_map",
    "crop_input",
    "error_cdf",
    "feature_distributions",
    "known_unknown",
    "method_style",
    "posterior_map",
    "radio_map",
    "scale_bar",
    "split_map",
    "stations",
]
