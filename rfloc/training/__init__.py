"""Training: Lightning module, schedules, crops drawn on the fly, staged experiments."""
