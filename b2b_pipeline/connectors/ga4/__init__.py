"""Everything of Google Analytics 4: source.py is where to begin."""
