"""Everything of TikTok Ads: source.py is where to begin."""
