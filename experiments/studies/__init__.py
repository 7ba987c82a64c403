"""Experiments, one a file (or a folder with a `study.py`): found by being here."""
