"""Warm and hot standby: redundancy, no move."""
