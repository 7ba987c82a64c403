"""Colours of the pictures, told apart by the colour-blind (Okabe and Ito, Color Universal Design, 2008).

Shape or position says the same as colour everywhere. Reports show pictures on light and on dark paper: each
colour here has a CSS variable, and its value on dark paper.
"""

from __future__ import annotations

INK = "#1b1f24"
MUTED = "#667079"
GRID = "#d8dde2"
BAND = "#eceff2"
PAPER = "#ffffff"
TO_VM = "#0072b2"
FROM_VM = "#d55e00"
GREEN = "#009e73"
PURPLE = "#a8497f"
GOLD = "#b87f00"
STEEL = "#8a97a3"

# colour on light paper: (CSS variable, colour on dark paper)
ON_DARK: dict[str, tuple[str, str]] = {
    INK: ("--ink", "#e6e9ec"),
    MUTED: ("--muted", "#9aa5af"),
    GRID: ("--grid", "#333b43"),
    BAND: ("--band", "#232a31"),
    PAPER: ("--paper", "#14181c"),
    TO_VM: ("--to-vm", "#56b4e9"),
    FROM_VM: ("--from-vm", "#ff8a3d"),
    GREEN: ("--green", "#2fc79a"),
    PURPLE: ("--purple", "#d98bb8"),
    GOLD: ("--gold", "#e6b040"),
    STEEL: ("--steel", "#6d7a86"),
}

DIRECTIONS = (("to_vm", "to VM", TO_VM), ("from_vm", "from VM", FROM_VM))


def with_variables(svg: str) -> str:
    """The SVG with its colours as CSS variables: the page around it decides between light and dark."""
    for colour, (variable, _) in ON_DARK.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg
