"""Running notebooks as stages, saying who made what, and checking that it is what it claims to be."""
