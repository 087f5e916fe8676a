"""Everything of Salesforce: source.py is where to begin."""
