"""Scenes: who stands where, among which things, before which background, and what is visible of them."""
