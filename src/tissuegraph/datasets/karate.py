"""Zachary's karate club: 34 members, who meets whom, and the clubs they went to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

FRIENDS = {
    0: (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31),
    1: (2, 3, 7, 13, 17, 19, 21, 30),
    2: (3, 7, 8, 9, 13, 27, 28, 32),
    3: (7, 12, 13),
    4: (6, 10),
    5: (6, 10, 16),
    6: (16,),
    8: (30, 32, 33),
    9: (33,),
    13: (33,),
    14: (32, 33),
    15: (32, 33),
    18: (32, 33),
    19: (33,),
    20: (32, 33),
    22: (32, 33),
    23: (25, 27, 29, 32, 33),
    24: (25, 27, 31),
    25: (31,),
    26: (29, 33),
    27: (33,),
    28: (31, 33),
    29: (32, 33),
    30: (32, 33),
    31: (32, 33),
    32: (33,),
}
COMMUNITIES = "1111333101311100310101002200200200"
CLUBS = "HHHHHHHHHOHHHHOOHHOHOHOOOOOOOOOOOO"
CLUB_NAMES = {"H": "Mr. Hi", "O": "Officer"}
KEY = "karate"


def karate_club() -> AnnData:
    """Return Zachary's karate club (1977), 34 nodes and 78 edges.

    Returns
    -------
    AnnData with one feature a node in `X` (f32, the identity), the graph in `obsp["karate_connectivities"]`
    (f32, symmetric) and `uns["karate_neighbors"]`, in `obs["community"]` the four communities by modularity
    that Kipf and Welling (2017) ask networks for, and in `obs["club"]` the side taken when the club split.
    """
    from anndata import AnnData

    pairs = np.array([(one, other) for one, others in FRIENDS.items() for other in others]).T
    n, edges = len(CLUBS), np.concatenate([pairs, pairs[::-1]], axis=1)
    names = pd.Index([str(node) for node in range(n)])
    obs = pd.DataFrame(
        {
            "community": pd.Categorical(list(COMMUNITIES)),
            "club": pd.Categorical([CLUB_NAMES[letter] for letter in CLUBS]),
        },
        index=names,
    )
    adata = AnnData(np.eye(n, dtype=np.float32), obs=obs, var=pd.DataFrame(index=names))
    weights = np.ones(edges.shape[1], np.float32)
    adata.obsp[f"{KEY}_connectivities"] = sparse.csr_matrix((weights, (edges[1], edges[0])), (n, n))
    adata.uns[f"{KEY}_neighbors"] = {"connectivities_key": f"{KEY}_connectivities", "params": {}}
    return adata
