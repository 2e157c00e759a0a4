"""Voronoi: every transcript to the nucleus whose centroid is nearest, however far."""

from __future__ import annotations

from exchange import arguments, read_nuclei, read_transcripts, write_result
from scipy.spatial import cKDTree


def main() -> None:
    folder, result, _ = arguments({})
    transcripts, nuclei = read_transcripts(folder), read_nuclei(folder)
    _, nearest = cKDTree(nuclei[["x", "y"]].to_numpy()).query(transcripts[["x", "y"]].to_numpy())
    write_result(result, transcripts["row"], nuclei["cell_id"].to_numpy()[nearest])


if __name__ == "__main__":
    main()
