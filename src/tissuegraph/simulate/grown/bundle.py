"""grown_tissue(): write a slide that grew on a lattice as a Xenium bundle, with its truth."""

from __future__ import annotations

from pathlib import Path

from tissuegraph.simulate.bundle import write_bundle
from tissuegraph.simulate.grown.params import GrownTissueParams
from tissuegraph.simulate.grown.slide import draw_grown_slide
from tissuegraph.simulate.params import with_settings


def grown_tissue(
    out: str | Path,
    params: GrownTissueParams | None = None,
    *,
    seed: int = 0,
    overwrite: bool = False,
    **settings: object,
) -> Path:
    """Grow tissue with known truth on a lattice, and write it to `out` as `tissue` does.

    The files are those of `tissue`; the tissue differs in kind. Cells grow from seeds into shapes that
    no star or ellipse has, small ones between large ones, around empty places; nuclei are missed, merged
    and misdrawn; genes follow overlapping programmes and gradients instead of markers, and lie by gene in
    the nucleus or around it; every transcript diffuses, ambient RNA is patchy, and quality depends on the
    gene. What holds on one kind of tissue only is no result.

    Parameters
    ----------
    out
        The folder to write; it appears whole or not at all.
    params
        What the tissue looks like; the defaults of `GrownTissueParams` where None.
    seed
        Every random choice comes from it.
    overwrite
        Replace a simulated slide that is there already.
    **settings
        Fields of `GrownTissueParams` to change, such as `cells=500`.

    Returns
    -------
    The folder.

    Raises
    ------
    InputError
        A setting is unknown or makes no tissue.
    OutputError
        `out` exists or cannot be written.
    """
    chosen = with_settings(params or GrownTissueParams(), settings)
    return write_bundle(out, draw_grown_slide, chosen, seed=seed, overwrite=overwrite)
