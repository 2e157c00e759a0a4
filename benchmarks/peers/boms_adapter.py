"""BOMS 1.1.0 (Kamboj et al., github.com/ocimakamboj/boms), with the nuclei as its flows.

Runs inside an environment made by `setup.sh boms`. BOMS works in pixels and rounds what it finds to whole
ones, so the coordinates are divided by `pixel_size`. It takes the flows that Cellpose draws, so each nucleus
draws to its middle what lies in it and a little around it. BOMS makes cells of its own, without nuclei too.

The settings were chosen on slides of seed 7 (250 cells, elongation 1 and 3) by the mean of their F1, not on
those that are reported. Tried: radius 4 to 7, range_bandwidth 0.3 to 0.7, alpha 0.1 to 1, flow_reach 0 to 5,
neighbours 15 to 50, epochs 30 and 60, pixel_size 0.1 to 0.5, min_transcripts 5 and 20.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import shapely
from boms import run_boms  # type: ignore[import-not-found, unused-ignore]
from exchange import arguments, read_nuclei, read_transcripts, write_result

SETTINGS = {
    "pixel_size": 0.2125,  # um
    "radius": 5.0,  # um: the spatial bandwidth
    "range_bandwidth": 0.6,
    "neighbours": 30,
    "epochs": 30,
    "alpha": 0.1,  # the share of mean shift in a step where there are flows; 1 = no flows
    "flow_reach": 2.0,  # um around a nucleus in which there are flows
    "min_transcripts": 5,
}


def nuclear_flows(nuclei: pd.DataFrame, x: np.ndarray, y: np.ndarray, reach: float) -> np.ndarray:
    """Unit vectors (dy, dx) from `x`, `y` to the middle of a nucleus within `reach`: [2, Y, X]."""
    flows = np.zeros((2, x.size), np.float32)
    tree = shapely.STRtree(shapely.from_wkb(nuclei["geometry"].to_numpy()))
    points = shapely.points(x.ravel(), y.ravel())
    near, nucleus = tree.query_nearest(points, max_distance=max(reach, 1e-6), all_matches=False)
    middle = nuclei[["y", "x"]].to_numpy()[nucleus].T
    towards = middle - np.stack([y.ravel(), x.ravel()])[:, near]
    flows[:, near] = towards / np.maximum(np.hypot(*towards), 1e-6)
    return flows.reshape(2, *x.shape)


def segment(transcripts: pd.DataFrame, nuclei: pd.DataFrame, settings: dict[str, float]) -> np.ndarray:
    """Return the number of the cell of each transcript, from 1."""
    pixel = settings["pixel_size"]
    points = transcripts[["x", "y"]].to_numpy(np.float64)
    origin = points.min(axis=0) - pixel
    # One precision throughout: BOMS compares its float32 copy with the range of what it was given.
    x, y = ((points - origin) / pixel).T.astype(np.float32)
    use_flows = settings["alpha"] < 1
    flows = np.zeros((2, 1, 1), np.float32)
    if use_flows:
        rows, columns = np.indices((int(y.max()) + 2, int(x.max()) + 2))
        middles = origin[0] + (columns + 0.5) * pixel, origin[1] + (rows + 0.5) * pixel
        flows = nuclear_flows(nuclei, *middles, settings["flow_reach"])
    _, cell, *_ = run_boms(
        x,
        y,
        transcripts["gene"].to_numpy(dtype=str),
        epochs=int(settings["epochs"]),
        h_s=settings["radius"] / pixel,
        h_r=settings["range_bandwidth"],
        K=int(settings["neighbours"]),
        use_flows=use_flows,
        flows=flows,
        alpha=settings["alpha"],
    )
    return np.asarray(cell)


def main() -> None:
    folder, result, settings = arguments(SETTINGS)
    transcripts, nuclei = read_transcripts(folder), read_nuclei(folder)
    cell = segment(transcripts, nuclei, settings)
    is_cell = np.bincount(cell)[cell] >= settings["min_transcripts"]
    names = [f"boms-{number}" for number in cell]
    write_result(result, transcripts["row"], pd.Series(names).where(is_cell))


if __name__ == "__main__":
    main()
