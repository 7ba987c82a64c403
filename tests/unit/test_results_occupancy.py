"""The fill of the holders over time."""

from results.pictures.occupancy import curves_of, draw_occupancy
from results.pictures.panels import to_svg


def event(t_s, kind, holder, frames, trial=3):
    return {"t_s": t_s, "kind": kind, "holder": holder, "frames": frames, "trial": trial}


EVENTS = [
    event(10.002, "buffer", "redirected", 4),
    event(10.006, "buffer", "redirected", 12),
    event(10.008, "release", "redirected", 13),
    event(10.004, "buffer", "direct", 0),
    event(10.004, "buffer", "redirected", 99, trial=4),
    {"t_s": 10.0, "kind": "switch", "trial": 3},
]


def test_a_holder_fills_and_is_empty_when_it_was_released():
    curves = curves_of(EVENTS, 3, 10.0)
    assert list(curves) == ["redirected"]  # the other one never kept anything
    moments_ms, frames = curves["redirected"]
    assert [round(moment) for moment in moments_ms] == [2, 2, 6, 8, 8]
    assert frames == [0, 4, 12, 0, 0]
    assert curves_of(EVENTS, 5, 10.0) == {}


def test_the_picture_names_what_waits_where():
    svg = to_svg(draw_occupancy(curves_of(EVENTS, 3, 10.0), "switch"), salt="x", paper="none")
    assert "redirected: to the VM, through the old NVE" in svg
    assert "ms, switch at 0" in svg


def test_no_half_a_frame_waits():
    few = [event(10.001, "buffer", "outbound", 9), event(10.003, "release", "outbound", 9)]
    figure = draw_occupancy(curves_of(few, 3, 10.0), "switch")
    assert all(float(tick).is_integer() for tick in figure.axes[0].get_yticks())
