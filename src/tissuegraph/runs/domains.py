"""`tissuegraph domains`: a section in, its tissue domains out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tissuegraph import keys
from tissuegraph.domains.params import StagateParams, stagate_params
from tissuegraph.errors import InputError
from tissuegraph.output import refuse_existing_file, whole_file
from tissuegraph.training.params import check_seed

if TYPE_CHECKING:
    from anndata import AnnData

METHODS = ("gmm", "leiden", "louvain", "mclust")
ENDING, PICTURE_ENDING, TABLE_ENDING = ".h5ad", ".png", ".markers.csv"
DOTS_PER_INCH = 200
EMBEDDING = "X_stagate"
GIVEN = f"{keys.DOMAIN}_given"
"""Where a column of the user's is kept that has the name of our result."""

log = logging.getLogger(__name__)


def find_domains(
    section: Path | str,
    out: Path | str,
    *,
    n_domains: int | None = None,
    stagate: StagateParams | None = None,
    preset: str | None = None,
    n_genes: int = 5_000,
    method: str = "gmm",
    n_networks: int = 3,
    n_seeds: int = 1,
    harmony: bool = False,
    rare: bool = False,
    layer: str | None = None,
    platform: str | None = None,
    bin_size: str | None = None,
    table: str | None = None,
    save_attention: bool = False,
    save_denoised: bool = False,
    markers: bool = False,
    device: str = "auto",
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Find the tissue domains of a section, or of several in one file.

    Writes what `section` holds with `obs["domain"]`, the embedding in `obsm["X_stagate"]`, the graph and the
    parameters, and beside it a picture of the domains, of the same name with `.png`.

    Parameters
    ----------
    section
        What `tg.read_section` takes: a Space Ranger folder, .h5ad, .zarr, .gem, Slide-seq tables.
    out
        File to write, `.h5ad`.
    n_domains
        How many; by default the number from 4 to 20 that is found most reliably.
    stagate
        The network; its `section_key` tells sections apart here too: no edge joins two of them, each is
        centred by itself, and a domain has one name on all.
    preset
        "paper-tf" or "paper-pyg": what the two public ports do, instead of our network; of `stagate`, only
        `section_key` may be given beside it.
    n_genes
        Variable genes that are used, of more than 1,000; `var["highly_variable"]` counts for more.
    method
        "gmm", "leiden", "louvain" or "mclust".
    n_networks
        Networks, from seeds that follow `seed`, whose partitions the domains are a consensus of; all but the
        first are kept as `obsm["X_stagate_2"]`, ... One is faster. The smoothed components of
        `tg.smoothed_components`, kept as `obsm["X_smoothed"]`, count as much as all but one of the networks;
        not where a network, as those of the presets, is given genes.
    n_seeds
        Partitions of each embedding that enter the consensus.
    harmony
        Align sections with Harmony before domains are sought, where batches remain.
    rare
        Look for domains of few cells too; it may split what is one, and join two that are alike.
    layer
        Where the expression stands; by default the counts of `layers["counts"]`, else `X`. Raw counts are
        normalised to 10,000 a cell and log-transformed, anything else is taken as it is.
    platform, bin_size, table
        As `tg.read_section` takes them, where the path does not tell.
    save_attention, save_denoised
        Write the attention along edges, and denoised expression (dense).
    markers
        Also rank the genes of each domain (`tg.domain_markers`), in a table of the name of `out` with
        `.markers.csv`.
    device
        "auto", "cpu", "cuda".
    seed
        Of network and clustering; on the CPU the same seed gives the same bits.
    overwrite
        Replace the file and the picture that are there.

    Returns
    -------
    The file.

    Raises
    ------
    InputError
        If the section or an option is not what it should be.
    OutputError
        If the file exists or cannot be written.
    """
    source, out = Path(section), Path(out).absolute()
    _check(source, out, {"n_domains": n_domains, "n_seeds": n_seeds, "n_networks": n_networks}, method, seed)
    params = _params(stagate, preset)
    section_key = params.section_key
    picture, ranking = out.with_suffix(PICTURE_ENDING), out.with_suffix(TABLE_ENDING)
    for file in (out, picture, *([ranking] if markers else [])):
        refuse_existing_file(file, overwrite=overwrite)
    from tissuegraph.domains.sections import read_section

    size = int(bin_size) if bin_size and bin_size.isdigit() else bin_size
    adata = read_section(source, platform=platform, bin_size=size, table=table, section_key=section_key)
    if n_domains is not None and n_domains > adata.n_obs:
        raise InputError(f"{n_domains} domains are wanted of {adata.n_obs:,} cells; ask for fewer")
    _keep_given(adata)
    settings = {"layer": layer, "device": device, "seed": seed}
    settings |= {"save_attention": save_attention, "save_denoised": save_denoised}
    names = _embed(adata, params, n_genes, n_networks, settings)
    how: dict[str, Any] = {"method": method, "n_seeds": n_seeds, "rare": rare, "seed": seed}
    _cluster(adata, names, n_domains, section_key, harmony=harmony, **how)
    sections = "" if section_key is None else section_key
    record: dict[str, Any] = {"section": str(source), "section_key": sections, "n_genes": n_genes}
    record["n_networks"] = n_networks
    record |= {"harmony": harmony, "seed": seed}
    record |= {"preset": preset or "", "layer": layer or "", "version": version("tissuegraph")}
    adata.uns[keys.UNS_RUN] = {**adata.uns[keys.UNS_RUN], "domains": record}
    if markers:
        _rank_genes(adata, layer, ranking)
    _write(adata, out, picture, section_key)
    log.info("domains: %s, drawn in %s", out, picture.name)
    return out


def _check(source: Path, out: Path, numbers: dict[str, int | None], method: str, seed: int) -> None:
    """Refuse what can be told from the options alone, before anything is read."""
    if out.suffix != ENDING:
        raise InputError(f"out is {out.name}; give a name that ends with {ENDING}")
    if out == source.absolute():
        raise InputError(f"out is the section itself, {out}; choose another name")
    if method not in METHODS:
        raise InputError(f"method is {method!r}; expected one of: {', '.join(METHODS)}")
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; give a number of 1 or more")
    check_seed(seed)


def _params(given: StagateParams | None, preset: str | None) -> StagateParams:
    """The network, with the sections of what is given."""
    if preset is None or given is None:
        return given or stagate_params(preset)
    if given != StagateParams(section_key=given.section_key):
        raise InputError("both a preset and parameters of the network are given; give one of them")
    return replace(stagate_params(preset), section_key=given.section_key)


def _embed(
    adata: AnnData,
    params: StagateParams,
    n_genes: int,
    n_networks: int,
    settings: dict[str, Any],
) -> list[str]:
    """Choose genes, fit the networks and name the embeddings that are joined; `X` stays as it is."""
    from tissuegraph.domains.smoothed import SMOOTHED, smoothed_components
    from tissuegraph.domains.stagate import stagate
    from tissuegraph.features.genes import mark_variable_genes

    layer = settings.pop("layer")
    if layer is None and keys.LAYER_COUNTS in adata.layers:
        layer = keys.LAYER_COUNTS
    normalize = _holds_counts(adata, layer)
    if not normalize:
        where = "X" if layer is None else f"layers['{layer}']"
        log.info("%s holds no counts; it is taken as normalised and log-transformed", where)
    mark_variable_genes(adata, n_genes, layer=layer, normalize=normalize, section_key=params.section_key)
    names = [EMBEDDING, *(f"{EMBEDDING}_{number}" for number in range(2, n_networks + 1))]
    first = settings.pop("seed")
    for seed, name in enumerate(names, first):
        stagate(adata, params, layer=layer, normalize=normalize, key_added=name, seed=seed, **settings)
        settings |= {"save_attention": False, "save_denoised": False}
    if params.n_components is None:
        return names
    smoothed_components(
        adata, layer=layer, normalize=normalize, section_key=params.section_key, z_score=params.z_score
    )
    return [*names, *[SMOOTHED] * max(n_networks - 1, 1)]


def _keep_given(adata: AnnData) -> None:
    """Keep a column of the user's that has the name of our result."""
    if keys.DOMAIN in adata.obs and keys.DOMAIN not in adata.uns.get(keys.UNS_RUN, {}):
        adata.obs[GIVEN] = adata.obs.pop(keys.DOMAIN)
        log.info("obs['%s'] was there already; it is kept as obs['%s']", keys.DOMAIN, GIVEN)


def _holds_counts(adata: AnnData, layer: str | None) -> bool:
    if layer is not None and layer not in adata.layers:
        found = ", ".join(adata.layers.keys()) or "none"
        raise InputError(f"no layer '{layer}'; found: {found}")
    from tissuegraph.io.sections.assemble import is_whole

    matrix: Any = adata.X if layer is None else adata.layers[layer]
    return is_whole(matrix if isinstance(matrix, np.ndarray) else matrix.data)


def _cluster(
    adata: AnnData,
    names: list[str],
    n_domains: int | None,
    section_key: str | Sequence[str] | None,
    *,
    harmony: bool,
    seed: int,
    **how: Any,
) -> None:
    from tissuegraph.domains.cluster import cluster_domains

    if harmony:
        from tissuegraph.domains.harmony import harmonize

        for name in dict.fromkeys(names):
            harmonize(adata, section_key, name, seed=seed)
        names = [f"{name}_harmony" for name in names]
    cluster_domains(adata, n_domains, seed=seed, use_rep=names, key_added=keys.DOMAIN, **how)


def _rank_genes(adata: AnnData, layer: str | None, file: Path) -> None:
    from tissuegraph.domains.markers import domain_markers

    if adata.obs[keys.DOMAIN].nunique() < 2:
        log.warning("there is one domain, so there are no markers")
        return
    if layer is None and keys.LAYER_COUNTS in adata.layers:
        layer = keys.LAYER_COUNTS
    table = domain_markers(adata, keys.DOMAIN, layer=layer)
    with whole_file(file) as staging:
        table.to_csv(staging, index=False, lineterminator="\n")


def _write(adata: AnnData, out: Path, picture: Path, section_key: str | Sequence[str] | None) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    from tissuegraph.plot.tissue import domains

    figure = domains(adata, keys.DOMAIN, section_key=section_key)
    with whole_file(out) as staging:
        adata.write_h5ad(staging, compression="gzip")
    with whole_file(picture) as staging:
        figure.savefig(staging, dpi=DOTS_PER_INCH)
    pyplot.close(figure)
