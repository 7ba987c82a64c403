"""What several experiments are made of: a VM that moves under traffic, groups compared, transports in rounds."""
