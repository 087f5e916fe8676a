"""The metrics, a file a family: measures over the datasets, and the metrics that are made of them."""
