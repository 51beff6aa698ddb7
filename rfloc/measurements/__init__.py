"""Measured campaigns as links: NB-IoT files, a user's own table, stations placed, files fetched and checked."""
