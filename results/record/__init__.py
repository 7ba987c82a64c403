"""The record of a run: what it must look like, writing it, reading it back."""
