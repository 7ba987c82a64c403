"""What a move will cost, learnt from records, and whether to move."""
