"""Figures: one function a figure, axes in, axes out.

Every map has axes in metres of the city's local frame; every method has one colour and line style in all figures, from
Okabe and Ito's palette, which colour-blind readers can tell apart. Colour says what a network was pretrained on, a
solid line that it has seen measurements. Legends stand outside the data: lay figures out with `layout="constrained"`.
"""

from rfloc.figures.calibration import azimuth_posterior, convergence, pose_posterior, search_cost
from rfloc.figures.campaigns import (
    SOURCE_COLOURS,
    deployment_map,
    heard_stations,
    patch_grid,
    station_positions,
)
from rfloc.figures.cities import footprints_by_height, footprints_by_rule, raster_layers, roofs_bar, scene_view
from rfloc.figures.departures import departures
from rfloc.figures.levels import level_ratios
from rfloc.figures.maps import (
    box_outline,
    calibration_map,
    city_map,
    crop_input,
    held_out_areas,
    map_axes,
    posterior_map,
    radio_map,
    scale_bar,
    split_map,
    stations,
)
from rfloc.figures.scores import (
    calibration_gain,
    crop_sizes,
    error_by_size,
    error_cdf,
    feature_distributions,
    known_unknown,
)
from rfloc.figures.sensitivity import sensitivity
from rfloc.figures.style import (
    METHOD_COLOURS,
    METHODS,
    OKABE_ITO,
    ROLE_COLOURS,
    ROLE_LABELS,
    STYLE,
    legend_outside,
    method_style,
)

__all__ = [
    "METHODS",
    "METHOD_COLOURS",
    "OKABE_ITO",
    "ROLE_COLOURS",
    "ROLE_LABELS",
    "SOURCE_COLOURS",
    "STYLE",
    "azimuth_posterior",
    "box_outline",
    "calibration_gain",
    "calibration_map",
    "city_map",
    "convergence",
    "crop_input",
    "crop_sizes",
    "departures",
    "deployment_map",
    "error_by_size",
    "error_cdf",
    "feature_distributions",
    "footprints_by_height",
    "footprints_by_rule",
    "heard_stations",
    "held_out_areas",
    "known_unknown",
    "legend_outside",
    "level_ratios",
    "map_axes",
    "method_style",
    "patch_grid",
    "pose_posterior",
    "posterior_map",
    "radio_map",
    "raster_layers",
    "roofs_bar",
    "scale_bar",
    "scene_view",
    "search_cost",
    "sensitivity",
    "split_map",
    "station_positions",
    "stations",
]
