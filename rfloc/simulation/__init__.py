"""Simulation: a city and base stations to path gain, and path gain to the four radio features of a links dataset."""
