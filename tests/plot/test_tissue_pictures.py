"""What stands in the pictures of cells: numbers of dots and edges, colours, limits, names."""

from __future__ import annotations

import anndata as ad
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from layered_tissue import NAMES, layered, unlabel
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex, to_rgba
from scipy import sparse

import tissuegraph as tg
from tissuegraph.errors import InputError
from tissuegraph.plot.canvas import PALETTE, UNLABELLED, bar_length, colours_of
from tissuegraph.plot.tissue import mutual_edges

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def two_sections() -> ad.AnnData:
    both = ad.concat({"a": layered(0), "b": layered(1)}, label="section", index_unique="-")
    tg.spatial_neighbors(both)
    return both


def dots(ax: Axes) -> list[PathCollection]:
    return [part for part in ax.collections if isinstance(part, PathCollection)]


def texts(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


# ---- domains


def test_domains_have_their_colours_and_cells_without_one_are_grey():
    adata = layered()
    known = unlabel(adata)
    figure = tg.plot.domains(adata)
    (shown,) = dots(figure.axes[0])
    assert len(shown.get_offsets()) == adata.n_obs
    colours = np.array([to_hex(colour) for colour in shown.get_facecolors()])
    assert set(colours[~known]) == {UNLABELLED}
    for i, name in enumerate(NAMES):
        assert set(colours[known & (adata.obs["domain"] == name)]) == {PALETTE[i].lower()}
    assert texts(figure) == [*NAMES, "none"]
    assert figure.axes[0].get_aspect() == 1
    bottom, top = figure.axes[0].get_ylim()
    assert bottom > top


def test_every_section_has_its_axes_and_those_that_are_given_are_used():
    adata = two_sections()
    assert [ax.get_title() for ax in tg.plot.domains(adata).axes] == ["a", "b"]
    figure, axes = plt.subplots(1, 2)
    assert tg.plot.domains(adata, axes=axes) is figure
    assert [len(dots(ax)[0].get_offsets()) for ax in axes] == [660, 660]
    assert axes[1].get_legend() is not None
    with pytest.raises(InputError, match=r"1 axes are given for 2 sections; give one for each"):
        tg.plot.domains(adata, axes=plt.subplots()[1])


def test_a_bar_of_um_where_the_unit_is_known():
    adata = layered()
    adata.uns["tissuegraph"] = {"section": {"unit": "um"}}
    names = [text.get_text() for text in tg.plot.domains(adata).axes[0].texts]
    assert names == ["2 um"]


@pytest.mark.parametrize(
    ("width", "length"), [(100, 20), (99, 10), (26, 5), (10, 2), (0.7, 0.1), (5.1e4, 1e4)]
)
def test_the_bar_is_round_and_at_most_a_fifth(width, length):
    assert bar_length(width) == pytest.approx(length)


def test_many_names_have_colours_of_their_own():
    assert len(set(colours_of([str(i) for i in range(40)]).values())) == 40


# ---- pseudotime


def test_pseudotime_is_shown_and_nan_is_grey_below():
    adata = layered()
    known = unlabel(adata)
    adata.obs["pseudotime"] = np.where(known, np.arange(adata.n_obs) / 700, np.nan)
    figure = tg.plot.pseudotime(adata)
    grey, shown = dots(figure.axes[0])
    assert len(grey.get_offsets()) == (~known).sum()
    assert np.allclose(shown.get_array(), adata.obs["pseudotime"][known])
    assert figure.axes[1].get_ylabel() == "pseudotime"


def test_sections_share_the_limits_of_the_colours():
    adata = two_sections()
    adata.obs["pseudotime"] = np.linspace(0, 1, adata.n_obs)
    figure = tg.plot.pseudotime(adata)
    assert {dots(ax)[0].get_clim() for ax in figure.axes[:2]} == {(0.0, 1.0)}


# ---- attention


def test_edges_are_drawn_once_with_the_mean_of_both_directions():
    attention = sparse.csr_matrix(np.array([[0.5, 0.2, 0.3], [0.6, 0.4, 0], [0, 0, 1]]))
    assert np.allclose(mutual_edges(attention).toarray(), [[0, 0.4, 0.3], [0, 0, 0], [0, 0, 0]])


def test_attention_is_drawn_on_the_edges_the_strongest_on_top():
    adata = two_sections()
    graph = sparse.csr_matrix(adata.obsp["spatial_connectivities"])
    graph.data = np.random.default_rng(0).random(graph.nnz).astype(np.float32)
    adata.obsp["stagate_attention"] = graph + sparse.eye_array(adata.n_obs)
    figure = tg.plot.attention(adata)
    lines = [part for ax in figure.axes[:2] for part in ax.collections if isinstance(part, LineCollection)]
    assert sum(len(part.get_segments()) for part in lines) == mutual_edges(graph).nnz
    for part in lines:
        assert (np.diff(part.get_array()) >= 0).all()
        longest = max(np.linalg.norm(np.diff(segment, axis=0)) for segment in part.get_segments())
        assert longest < 5
    assert lines[0].get_clim() == lines[1].get_clim()
    assert figure.axes[2].get_ylabel() == "attention"


# ---- genes


def test_denoised_stands_beside_raw():
    adata = layered()
    adata.layers["stagate_denoised"] = np.full(adata.shape, np.nan, np.float32)
    adata.layers["stagate_denoised"][:, :2] = np.arange(adata.n_obs)[:, None]
    figure = tg.plot.denoised(adata, ["marker_L1", "marker_L2"])
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["marker_L1 raw", "marker_L1 denoised", "marker_L2 raw", "marker_L2 denoised"]
    counts = adata.X.toarray()
    expected = np.log1p(1e4 * counts[:, 0] / counts.sum(1))
    assert np.allclose(dots(figure.axes[0])[0].get_array(), expected, atol=1e-5)
    assert np.allclose(dots(figure.axes[1])[0].get_array(), np.arange(adata.n_obs))
    assert dots(figure.axes[1])[0].get_clim() == (0, np.percentile(np.arange(adata.n_obs), 99))
    with pytest.raises(InputError, match=r"not modelled, so not denoised: gradient; take variable genes"):
        tg.plot.denoised(adata, "gradient")
    own = plt.subplots(1, 2)
    assert tg.plot.denoised(adata, "marker_L1", own[1]) is own[0]


def test_violins_stand_for_the_domains():
    adata = layered()
    unlabel(adata)
    adata.obs["domain"] = adata.obs["domain"].cat.add_categories(["empty"])
    figure = tg.plot.violins(adata, ["marker_L1", "noise_1"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["marker_L1", "noise_1"]
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == NAMES
    bodies = ax.collections[:4]
    assert [to_hex(body.get_facecolor()[0]) for body in bodies] == [colour.lower() for colour in PALETTE[:4]]
    counts = adata.X.toarray()
    values = np.log1p(1e4 * counts[:, 0] / counts.sum(1))
    medians = [np.median(values[adata.obs["domain"] == name]) for name in NAMES]
    assert [segment[0, 1] for segment in ax.collections[4].get_segments()] == pytest.approx(medians, abs=1e-5)
    own = plt.subplots()
    assert tg.plot.violins(adata, "noise_1", axes=own[1]) is own[0]


# ---- other spaces


def test_umap_is_coloured_by_labels_and_by_numbers():
    adata = layered()
    unlabel(adata)
    adata.obsm["X_umap"] = np.random.default_rng(0).normal(size=(adata.n_obs, 2))
    ax = tg.plot.umap(adata)
    colours = [to_hex(colour) for colour in dots(ax)[0].get_facecolors()]
    grey = colours.count(UNLABELLED)
    assert set(colours[:grey]) == {UNLABELLED}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [*NAMES, "none"]
    adata.obs["pseudotime"] = adata.obsm["spatial"][:, 1]
    own = plt.subplots()[1]
    assert tg.plot.umap(adata, "pseudotime", own) is own
    assert dots(own)[1].get_array().max() == adata.obs["pseudotime"].max()


def test_sections_are_stacked_in_their_order():
    adata = two_sections()
    ax = tg.plot.sections_3d(adata, "section", order=["b", "a"], gap=10)
    assert [text.get_text() for text in ax.get_zticklabels()] == ["a", "b"]
    assert list(ax.get_zticks()) == [10, 0]
    ax.figure.canvas.draw()  # before, matplotlib has no colour for the last dot
    assert len(ax.collections[0].get_facecolors()) == adata.n_obs
    assert set(map(tuple, ax.collections[0].get_facecolors())) == {to_rgba(c) for c in PALETTE[:4]}
    adata.obsm["spatial"] = np.c_[adata.obsm["spatial"], np.repeat([3.0, 8.0], 660)]
    own = plt.figure().add_subplot(projection="3d")
    assert tg.plot.sections_3d(adata, "section", ax=own) is own
    assert list(own.get_zticks()) == [3, 8]
    alone = tg.plot.sections_3d(adata, "section", order=["b"])
    assert [text.get_text() for text in alone.get_zticklabels()] == ["b"]
    with pytest.raises(InputError, match=r"order names \['c'\]; obs\['section'\] has: a, b"):
        tg.plot.sections_3d(adata, "section", order=["c"])


@pytest.mark.parametrize("layout", ["tissue", "abstract"])
def test_paga_draws_a_line_for_each_strong_connection(layout):
    adata = layered()
    adata.uns["paga"] = {"groups": "domain", "connectivities": sparse.csr_matrix((4, 4))}
    strength = np.zeros((4, 4))
    strength[[0, 1, 0], [1, 2, 3]] = 0.8, 0.4, 0.01
    adata.uns["paga"]["connectivities"] = sparse.csr_matrix(strength + strength.T)
    ax = tg.plot.paga(adata, layout=layout)
    assert [line.get_linewidth() for line in ax.lines] == pytest.approx([8, 4])
    assert [text.get_text() for text in ax.texts] == NAMES
    if layout == "tissue":
        middle = ax.texts[1].xy
        assert 6 <= middle[1] < 14
    own = plt.subplots()[1]
    assert tg.plot.paga(adata, own, layout=layout, min_connectivity=0) is own
    assert len(own.lines) == 3


# ---- what is asked wrongly


def remove_positions(adata: ad.AnnData) -> None:
    del adata.obsm["spatial"]


def all_nan(adata: ad.AnnData) -> None:
    adata.obs["pseudotime"] = np.nan


def old_paga(adata: ad.AnnData) -> None:
    adata.uns["paga"] = {"groups": "domain", "connectivities": sparse.eye_array(3, format="csr")}


def no_edges(adata: ad.AnnData) -> None:
    adata.obsp["stagate_attention"] = sparse.eye_array(adata.n_obs, format="csr")


@pytest.mark.parametrize(
    ("picture", "arguments", "spoil", "message"),
    [
        ("domains", ["layer"], None, r"no column 'layer' in obs; found: domain"),
        ("domains", [], remove_positions, r"no positions in obsm\['spatial'\]; found: X_stagate"),
        ("pseudotime", [], None, r"no column of numbers 'pseudotime' in obs; tg.pseudotime"),
        ("pseudotime", [], all_nan, r"obs\['pseudotime'\] is NaN for all cells"),
        ("attention", [], None, r"no obsp\['stagate_attention'\]; found: spatial_"),
        ("attention", [], no_edges, r"obsp\['stagate_attention'\] joins no two cells"),
        (
            "denoised",
            ["marker_L1"],
            None,
            r"no layer 'stagate_denoised'; tg.stagate\(adata, save_denoised=True\)",
        ),
        ("violins", ["TP53"], None, r"no gene 'TP53' among the 18 of var_names"),
        ("umap", [], None, r"no layout in obsm\['X_umap'\]; found: X_stagate, spatial; tg.umap"),
        ("paga", [], None, r"no uns\['paga'\]; tg.paga\(adata\) writes it"),
        ("paga", [], old_paga, r"uns\['paga'\] has 3 domains, obs\['domain'\] has 4; run tg.paga again"),
    ],
)
def test_what_is_missing_is_said(picture, arguments, spoil, message):
    adata = layered()
    if spoil:
        spoil(adata)
    with pytest.raises(InputError, match=message):
        getattr(tg.plot, picture)(adata, *arguments)
