"""Everything of HubSpot: source.py is where to begin."""
