"""The errors of this package."""

from __future__ import annotations


class ImageError(Exception):
    """The image cannot be built, booted or used; the text says what, and what to do."""
