"""Our own collector of web events."""
