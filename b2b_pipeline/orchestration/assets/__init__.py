"""The software-defined assets: what vendors said (`raw`), tables (`core`), and KPIs with their export (`kpi`).

What belongs here: which assets there are, what each calls, and what its page shows. The work is done elsewhere.
"""
