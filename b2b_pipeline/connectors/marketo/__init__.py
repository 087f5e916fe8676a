"""Everything of Marketo: source.py is where to begin."""
