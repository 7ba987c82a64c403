"""What a record says: groups, statistics, comparisons, causes, answers. Pure."""
