"""Lies here so that pytest puts this folder on the path: `import toy` works in every test folder."""
