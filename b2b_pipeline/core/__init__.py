"""From slices to core tables: which feed what, loaded once, checked, converted, and booked.

What belongs here: plan, mapping a slice, loading, exchange rates, what feeds state, which days of files are whole.
It looks down on `files`, `landing`, `connectors` and `warehouse`; what follows from the tables is `derived`.
"""
