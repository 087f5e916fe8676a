"""LinkedIn Ads: see source.py."""
