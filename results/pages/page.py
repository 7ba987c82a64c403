"""What all HTML pages share: templates, theme."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.pictures import style

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"


def page_template(name: str) -> Template:
    """A template of results/pages/templates; text is escaped, an unknown name in it is an error."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template(name)


def theme() -> dict[str, Any]:
    """The CSS variables of the pictures' colours, on light and on dark paper (theme.css in templates)."""
    return {
        "light": {variable: colour for colour, (variable, _) in style.ON_DARK.items()},
        "dark": dict(style.ON_DARK.values()),
    }
