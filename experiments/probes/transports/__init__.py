"""Transports that traffic is made of, all behind one interface: ``base.Transport``."""
