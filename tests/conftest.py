"""Lies here so that pytest puts this folder on the path: `import toy` works in every test folder."""

from hypothesis import settings

# How long an example takes says something about the machine, not about the code.
settings.register_profile("tissuegraph", deadline=None)
settings.load_profile("tissuegraph")
