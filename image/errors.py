"""The errors of this package."""

from __future__ import annotations

from vocabulary.errors import OverlandError


class ImageError(OverlandError):
    """The image cannot be built, booted or used; the text says what, and what to do."""
