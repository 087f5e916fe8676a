"""Zoom Webinars."""
