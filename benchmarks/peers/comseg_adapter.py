"""ComSeg 1.8.5 (Defard et al. 2024, doi:10.1038/s42003-024-06480-3), with the nuclei as its prior.

Runs inside an environment made by `setup.sh comseg`.

The settings were chosen on slides of seed 7 (250 cells, elongation 1 and 3) by the mean of their F1, not on
those that are reported. Tried: mean_cell_diameter 9, 12 and 15 with max_cell_radius 15; max_cell_radius 8, 10
and 15 with the best of these. The others are as ComSeg has them, but for n_pcs (3).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from comseg.dataset import ComSegDataset  # type: ignore[import-not-found, unused-ignore]
from comseg.dictionary import ComSegDict  # type: ignore[import-not-found, unused-ignore]
from exchange import arguments, ids_of, read_nuclei, read_transcripts, write_result

SETTINGS = {
    "mean_cell_diameter": 15.0,  # um
    "max_cell_radius": 8.0,  # um
    "k_nearest_neighbors": 10,
    "n_pcs": 15,
    "resolution": 1.0,
    "min_merge_correlation": 0.8,
    "seed": 0,
}
NAME, PRIOR = "slide", "in_nucleus"


def write_input(folder: Path, transcripts: pd.DataFrame, nuclei: pd.DataFrame) -> None:
    """Write the two csv files that ComSeg reads; without z it works in the plane."""
    for name in ("spots", "centroids"):
        (folder / name).mkdir()
    spots = transcripts[["x", "y", "gene"]].assign(**{PRIOR: transcripts["nucleus"]})
    spots.to_csv(folder / "spots" / f"{NAME}.csv", index=False)
    centroids = nuclei[["x", "y"]].assign(**{PRIOR: nuclei["nucleus"]})
    centroids.to_csv(folder / "centroids" / f"{NAME}.csv", index=False)


def segment(folder: Path, settings: dict[str, float]) -> np.ndarray:
    """Return the nucleus of each spot, 0 = none, in the order of the csv file."""
    diameter = settings["mean_cell_diameter"]
    dataset = ComSegDataset(
        path_dataset_folder=folder / "spots",
        prior_name=PRIOR,
        dict_scale={"x": 1, "y": 1, "z": 1},
        mean_cell_diameter=diameter,
        image_csv_files=[f"{NAME}.csv"],
        centroid_csv_files=[f"{NAME}.csv"],
        path_cell_centroid=folder / "centroids",
        disable_tqdm=True,
    )
    dataset.compute_edge_weight()
    model = ComSegDict(dataset, mean_cell_diameter=diameter, seed=int(settings["seed"]), disable_tqdm=True)
    names = ("max_cell_radius", "k_nearest_neighbors", "n_pcs", "resolution", "min_merge_correlation")
    model.run_all({name: settings[name] for name in names})
    nodes = model[NAME].G.nodes
    return np.array([nodes[number]["cell_index_pred"] for number in range(len(dataset[NAME]))])


def main() -> None:
    folder, result, settings = arguments(SETTINGS)
    np.random.seed(int(settings["seed"]))  # noqa: NPY002 (ComSeg samples with the global generator)
    transcripts, nuclei = read_transcripts(folder), read_nuclei(folder)
    with tempfile.TemporaryDirectory() as scratch:
        write_input(Path(scratch), transcripts, nuclei)
        nucleus = segment(Path(scratch), settings)
    write_result(result, transcripts["row"], ids_of(nucleus, nuclei))


if __name__ == "__main__":
    main()
