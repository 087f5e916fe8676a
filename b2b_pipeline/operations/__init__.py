"""What people run beside the nights: replay, forget, back up, export, explain, the doctor, alerts.

What belongs here: work behind a command, without its words on a screen (`cli`) and without Dagster (`orchestration`).
"""
