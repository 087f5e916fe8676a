"""Everything of Google Analytics' export to BigQuery: source.py is where to begin."""
