"""Everything of X Ads: source.py is where to begin."""
