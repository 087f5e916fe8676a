"""Everything of the exchange rates of the ECB: source.py is where to begin."""
