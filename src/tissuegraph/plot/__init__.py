"""Pictures: one function a picture; each draws on a matplotlib `ax` and returns it."""
