"""Probes: what is sent through the network, what is read from the host, and what follows from it."""
