"""Sources, a folder each: what a vendor's API says, and how it becomes rows of the core tables.

Belongs here: `<source>/source.py` with its `SOURCE` (registry.py finds it), its client, its mappings (`rows.py`), what
its words mean (`words.yaml`), which fields its records have (`contract.yaml`); beside them what sources share: how to
ask (http.py, transport.py, auth.py), what a source is (base.py), columns (columns.py). Not here: what is kept of it
(landing/), and how it is loaded (core/).
Looks down at `configuration`, `warehouse`, and what stands at the root; no source looks at another.
"""
