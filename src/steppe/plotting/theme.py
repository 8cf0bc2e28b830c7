"""How figures look, in both backends: quiet, and distinguishable without colour."""

INK = "#1f2328"  # text
THEORY = "#3d444d"  # what theory says
MUTED = "#59636e"  # axes and labels
RULE = "#d1d9e0"  # axis lines
GRID = "#eceff2"  # grid lines, horizontal only
PAPER = "#ffffff"

# Okabe and Ito (2008), darkened where thin lines on white need it; distinguishable with any colour vision.
COLORS = ("#0072b2", "#d55e00", "#008f68", "#b0578f", "#3d3d3d", "#b98300", "#2f97cf", "#7a5230")
# The same markers by their names in Plotly and in Matplotlib.
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "pentagon", "hexagon", "star")
MARKERS = ("o", "s", "^", "D", "v", "p", "h", "*")
# One hue, lightness falling evenly: readable in grey.
SEQUENCE = ("#f3f7fb", "#c9ddee", "#93bfdf", "#559bca", "#2576ad", "#0f5286", "#092f54")

LINE = 1.6  # widths in points
DASH = 1.4
BAND_OPACITY = 0.16
BAR_OPACITY = 0.35


def color(group: int) -> str:
    """The colour of a group."""
    return COLORS[group % len(COLORS)]


def marker_size(count: int) -> float:
    """Diameter of a marker in points when a series has `count` of them."""
    return 6.0 if count <= 60 else 4.6 if count <= 400 else 3.4


def marker_opacity(count: int) -> float:
    """Opacity of a marker when a series has `count` of them: crowds show as darkness."""
    return 0.9 if count <= 60 else 0.6 if count <= 400 else 0.38
