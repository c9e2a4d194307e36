"""The pretrained base: which weights there are, where they come from, and getting them."""
