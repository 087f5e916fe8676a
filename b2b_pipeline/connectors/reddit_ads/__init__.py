"""Everything of Reddit Ads: source.py is where to begin."""
