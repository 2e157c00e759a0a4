"""How any network is trained in Lightning, and on what machine."""
