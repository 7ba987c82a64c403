"""What people read: the report of a run, the answers to all questions, the terminal's table."""
