"""Dropped files: recognised, proposed for, read cell by cell, and landed like any vendor's answer.

What belongs here: everything from a file in the inbox to rows of core tables. What `pipeline.yaml` may say of files is
in `configuration/file_mapping.py`. It looks down on `landing`, `connectors` and `warehouse`.
"""
