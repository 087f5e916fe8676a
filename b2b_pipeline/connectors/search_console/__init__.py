"""Everything of Google Search Console: source.py is where to begin."""
