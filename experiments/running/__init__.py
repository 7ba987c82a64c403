"""How a run is conducted: parameters, laboratory, trials, traffic, measures."""
