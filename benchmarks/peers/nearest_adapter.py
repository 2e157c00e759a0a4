"""Nearest nucleus: to the nearest outline, up to `max_distance` um; writes `distance` (um) too."""

from __future__ import annotations

import numpy as np
import shapely
from exchange import arguments, read_nuclei, read_transcripts, write_result

SETTINGS = {"max_distance": 20.0}


def main() -> None:
    folder, result, settings = arguments(SETTINGS)
    transcripts, nuclei = read_transcripts(folder), read_nuclei(folder)
    outlines = shapely.from_wkb(nuclei["geometry"].to_numpy())
    points = shapely.points(transcripts["x"].to_numpy(), transcripts["y"].to_numpy())
    (tx, nucleus), distance = shapely.STRtree(outlines).query_nearest(
        points, max_distance=settings["max_distance"], return_distance=True, all_matches=False
    )
    cell_id = np.full(len(transcripts), None, dtype=object)
    cell_id[tx] = nuclei["cell_id"].to_numpy()[nucleus]
    away = np.full(len(transcripts), np.inf)
    away[tx] = distance
    write_result(result, transcripts["row"], cell_id, distance=away)


if __name__ == "__main__":
    main()
