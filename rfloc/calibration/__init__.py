"""Base-station poses from training measurements; dataset B' is simulated with them (paper section 5)."""
