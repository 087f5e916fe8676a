"""Everything of Meta Ads: source.py is where to begin."""
