"""Configuration that ships with Tenshot, read with `importlib.resources`."""
