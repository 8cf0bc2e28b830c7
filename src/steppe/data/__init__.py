"""Inputs, clean targets and noise: laws in the unit ball, teachers, hard functions, real tables and images.

Provisional until 1.0.
"""

from .hard import BoundaryBumps, HardFamily, cap_packing, hard_family
from .images import Images, images_from_array, read_images
from .real import RealData, handwritten_digits, image_patches, into_unit_ball, photograph, smooth_label_map, tabular
from .samplers import mixture_of_subspaces, noise, radial, uniform_ball, uniform_sphere
from .teachers import (
    HoelderTeacher,
    hoelder_teacher,
    linear_teacher_on,
    ridge_teacher,
    ridges_teacher,
    unit_linear_teacher,
)

__all__ = [
    "BoundaryBumps",
    "HardFamily",
    "HoelderTeacher",
    "Images",
    "RealData",
    "cap_packing",
    "handwritten_digits",
    "hard_family",
    "hoelder_teacher",
    "image_patches",
    "images_from_array",
    "into_unit_ball",
    "linear_teacher_on",
    "mixture_of_subspaces",
    "noise",
    "photograph",
    "radial",
    "read_images",
    "ridge_teacher",
    "ridges_teacher",
    "smooth_label_map",
    "tabular",
    "uniform_ball",
    "uniform_sphere",
    "unit_linear_teacher",
]
