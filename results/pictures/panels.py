"""What all pictures share: panel headings, legends, and turning a figure into PNG or SVG."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from results.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Its word that it looks for fonts, once on a machine, would come between a run's last line and its table.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

WIDTH_INCHES, HEIGHT_INCHES, DPI = 11.0, 7.5625, 1600 / 11.0  # 1600 x 1100 pixels


def headline(panel: Axes, text: str) -> None:
    """Name a panel in its own words, above it at the left."""
    panel.set_title(text, loc="left", size=8, color=style.INK, pad=2)


def empty(panel: Axes, text: str) -> None:
    """Say in an empty panel why it is empty."""
    panel.set_yticks([])
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color=style.MUTED)


def legend(panel: Axes, handles: Sequence[Any], *, columns: int | None = None) -> None:
    """Keys above the panel at the right: in one line, or in lines of `columns` each."""
    panel.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 0.99),
        ncols=columns or len(handles),
        frameon=False,
        fontsize=7,
        labelcolor=style.INK,
        borderpad=0,
        borderaxespad=0,
        handletextpad=0.2,
        columnspacing=1.2,
    )


def to_png(figure: Figure, *, dpi: float = DPI) -> bytes:
    """PNG on white paper."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, facecolor=style.PAPER)
    return out.getvalue()


def to_svg(figure: Figure, *, salt: str, paper: str = style.PAPER) -> str:
    """SVG with real text; `salt` keeps the ids of several pictures in one page apart."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(out, format="svg", facecolor=paper, dpi=110, metadata={"Date": None})
    return out.getvalue()
