"""What a source is held to by its tests, ours and one's own. It needs no package but ours; pytest collects it."""
