"""What a pause does to congestion control and to voice."""
