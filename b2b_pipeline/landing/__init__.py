"""Landing: what the vendors said, as received, in slices; the only state that there is.

What belongs here: reading a stream into slices, storing and checking them, what was left out, what it will take. It
looks down on `connectors` and `configuration`; what slices mean is told by `core`.
"""
