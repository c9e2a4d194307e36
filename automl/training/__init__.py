"""Turning labeled images into a bundle."""
