from __future__ import annotations

import anndata as ad
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import tissuegraph as tg
from tissuegraph.errors import InputError

matplotlib.use("Agg")


def test_degrees_are_drawn_with_the_isolated_cells_apart():
    adata = ad.AnnData(np.zeros((5, 1)), obs=pd.DataFrame(index=list("abcde")))
    adata.obsm["spatial"] = np.array([[0, 0], [1, 0], [2, 0], [50, 0], [90, 0]], float)
    tg.spatial_neighbors_radius(adata, 1)
    axes = tg.plot.degrees(adata)
    assert [bar.get_height() for bar in axes.patches] == [2, 2, 1]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()
    assert axes.get_title(loc="left") == "0.8 neighbours a cell, 2 of 5 isolated"
    own = plt.subplots()[1]
    assert tg.plot.degrees(adata, own) is own
    plt.close("all")


def test_degrees_without_a_graph_are_an_error():
    adata = ad.AnnData(np.zeros((5, 1)))
    with pytest.raises(InputError, match=r"no graph in obsp\['spatial_connectivities'\]; found: nothing"):
        tg.plot.degrees(adata)
