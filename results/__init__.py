"""Records of runs and everything made from them: statistics, tables, timelines, reports.

Imports none of the other packages, needs no root, and loads heavy libraries only where they are used.
"""
