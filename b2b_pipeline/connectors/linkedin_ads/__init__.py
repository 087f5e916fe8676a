"""Everything of LinkedIn Ads: source.py is where to begin."""
