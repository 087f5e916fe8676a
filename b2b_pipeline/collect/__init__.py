"""Events that a site, or the server container of a tag manager, posts to us: checked, made nameless, and kept.

Belongs here: what an event may say (events.py), and the door that it comes in by (server.py). Not here: how it is kept
(landing/spool.py), and what becomes of it (connectors/).
Looks down at `landing` and what is below it.
"""
