"""Everything of Microsoft Advertising: source.py is where to begin."""
