"""Figures as values: points, lines, intervals, histograms and colour tables, drawn for a browser and for paper.

A figure is checked when it is made, lists every number it shows (`Figure.table`), saves itself as vector PDF or SVG
(`Figure.save`) and describes itself to plotly.js (`Figure.to_plotly`). Both drawings share one theme. `standalone_page`
puts tables and figures into one HTML file.

Provisional until 1.0.
"""

from .figures import Axis, Figure, Panel
from .layers import Band, Contours, Heatmap, Histogram, Layer, Lines, Scatter
from .standalone import Section, page_environment, plotly_script, script_hash, standalone_page, write_page

__all__ = [
    "Axis",
    "Band",
    "Contours",
    "Figure",
    "Heatmap",
    "Histogram",
    "Layer",
    "Lines",
    "Panel",
    "Scatter",
    "Section",
    "page_environment",
    "plotly_script",
    "script_hash",
    "standalone_page",
    "write_page",
]
