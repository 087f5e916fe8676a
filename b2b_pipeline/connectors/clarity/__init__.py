"""Microsoft Clarity."""
