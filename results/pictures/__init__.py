"""Pictures of figures: charts, curves, and what all pictures share."""
