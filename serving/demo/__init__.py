"""`tenshot demo`: the whole main job on real photos, as a user would do it."""
