"""Cities: footprints and streets, or one of Sionna RT's scenes, to a 1 m raster and a scene ready to trace."""

from rfloc.city.city import Bounds, City, box_bounds, build_city, build_patch, cut, neighbours, open_any, open_city
from rfloc.city.heights import SOURCES
