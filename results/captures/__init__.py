"""What the captures of a run hold, and the way of one packet."""
