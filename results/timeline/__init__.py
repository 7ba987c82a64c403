"""One trial on one clock, as a picture and as data for a page."""
