"""Tiles: a slide is cut once into pieces of bounded size, and every later stage is a map over them."""
