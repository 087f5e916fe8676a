"""Everything of Google Ads: source.py is where to begin."""
