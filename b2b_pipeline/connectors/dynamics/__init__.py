"""Microsoft Dynamics 365 Sales."""
