"""What the pretrained assignment looks at; the weights were trained with these, so they are no options."""

from __future__ import annotations

CANDIDATES = 5
"""Nuclei that a transcript may belong to."""
MAX_DISTANCE = 20.0
"""um from their outline."""
NEIGHBOURS = 30
"""Nearest transcripts that a transcript listens to."""
NEIGHBOUR_DISTANCE = 8.0
"""um."""
NUCLEAR_DISTANCE = 1.0
"""um: a transcript no farther from the nearest outline counts for the first profile of its cell."""
SURE = 0.7
"""Probability from which on a transcript counts for the second profile of its cell."""
HEARD = 12
"""Nearest transcripts whose pairs with the same cell a pair listens to in the second round."""
LAYERS = 1
"""Layers of attention in the second round: how many neighbours away a transcript is heard."""
