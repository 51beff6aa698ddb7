"""Measured campaigns as links datasets: the published Rome files, a user's own table, and how files are fetched."""
