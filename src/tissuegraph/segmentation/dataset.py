"""Training data: a bounded sample of tiles, cut into train, val and test."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
from scipy import sparse
from torch_geometric.data import HeteroData, InMemoryDataset

from tissuegraph import keys
from tissuegraph.errors import InputError
from tissuegraph.graph.hetero import TileGraph, hetero_data, receptive_field, tile_graph
from tissuegraph.graph.params import GraphParams
from tissuegraph.io.files import reading
from tissuegraph.segmentation.axes import LocalAxes, find_axes
from tissuegraph.segmentation.gene_vectors import gene_vectors
from tissuegraph.segmentation.params import DatasetParams
from tissuegraph.segmentation.tile_graphs import gene_tokens, inside, reach, read_tile_graph
from tissuegraph.tiles.plan import Tile, plan_tiles
from tissuegraph.tiles.store import TileStore
from tissuegraph.tiles.survey import Survey
from tissuegraph.tiles.tensors import load_graph, save_graph

CARD_FILE = "dataset.json"
FORMAT = "tissuegraph tiles 1"
SPLITS = ("train", "val", "test")
LEAST_TRANSCRIPTS = 10
"""Inside nuclei of the training tiles, as far as message passing may use them."""
SUPERVISED = 1
"""The half of a nucleus whose transcripts are asked about, while the other half says what it is."""


def write_dataset(
    survey: Survey,
    store: TileStore,
    folder: Path,
    *,
    graph: GraphParams,
    params: DatasetParams,
    seed: int,
) -> LocalAxes:
    """Sample tiles of a slide and write `folder/{train,val,test}/{raw,processed}`.

    `raw/tile_N.parquet` has the transcripts of the tile and of its halo (`in_core` tells them apart),
    `raw/tile_N_boundaries.parquet` the outlines, with the tissue's axis at each; `processed/
    tile_N.safetensors` the graph; and `dataset.json` the panel and the parameters. Tiles do not
    overlap, and only transcripts of the core are supervised, so none is in two splits.

    Returns the axes, which are those of the whole slide.

    Raises
    ------
    InputError
        If the slide is too small to give a tile to every split, or no nucleus holds a transcript.
    """
    teaching = (tile for tile in shuffled_tiles(survey, params, seed) if teaches(tile, survey, store, graph))
    splits = split_tiles(list(islice(teaching, params.max_tiles)), params, seed)
    for split, chosen in splits.items():
        (folder / split / "raw").mkdir(parents=True)
        write_card(folder / split, survey.genes, graph, params.hops)
        for tile in chosen:
            write_raw_tile(folder / split / "raw", tile, survey, store, graph, params.hops)
        SpatialTranscriptomicsDataset(folder / split)
    counts = nuclear_counts(SpatialTranscriptomicsDataset(folder / SPLITS[0]))
    if counts.sum() < LEAST_TRANSCRIPTS:
        message = (
            f"only {counts.sum():.0f} transcripts of the training tiles lie inside nuclei, too few to learn "
            "from; take a larger region, or a model trained elsewhere (tissuegraph predict)"
        )
        raise InputError(message)
    axes = find_axes(store, survey, survey.genes, gene_vectors(counts))
    for split, chosen in splits.items():
        for tile in chosen:
            add_axes(folder / split / "raw" / boundaries_file(tile.index), axes)
    return axes


def nuclear_counts(tiles: SpatialTranscriptomicsDataset) -> sparse.csr_matrix:
    """Count the genes of the transcripts that message passing may use, [nuclei, genes]."""
    cells, genes, offset = [], [], 0
    for tile in tiles:
        tx, bd = tile["tx", "belongs", "bd"].edge_index.numpy()
        cells.append(bd + offset)
        genes.append(tile["tx"].x.numpy()[tx])
        offset += tile["bd"].num_nodes
    cell, gene = np.concatenate(cells), np.concatenate(genes)
    return sparse.csr_matrix((np.ones(len(cell)), (cell, gene)), shape=(offset, len(tiles.genes)))


def transcripts_file(index: int) -> str:
    """Name of a raw tile's transcripts."""
    return f"tile_{index}.parquet"


def boundaries_file(index: int) -> str:
    """Name of a raw tile's outlines."""
    return f"tile_{index}_boundaries.parquet"


def add_axes(path: Path, axes: LocalAxes) -> None:
    """Write the tissue's axis at each outline into a raw tile's outlines."""
    outlines = gpd.read_parquet(path)
    numbers = outlines["boundary"].to_numpy()
    outlines["axis_angle"], outlines["axis_ratio"] = axes.angle[numbers], axes.ratio[numbers]
    outlines.to_parquet(path)


def shuffled_tiles(survey: Survey, params: DatasetParams, seed: int) -> list[Tile]:
    """Cut the slide into small tiles, in the order in which they are taken."""
    total = int(survey.histogram.counts.sum())
    size = min(params.tile_transcripts, max(total // 10, 1))
    tiles = plan_tiles(survey.histogram, max_transcripts=size, min_side=0.0)
    return [tiles[i] for i in np.random.default_rng(seed).permutation(len(tiles))]


def teaches(tile: Tile, survey: Survey, store: TileStore, graph: GraphParams) -> bool:
    """Say whether a transcript of the tile's core is supervised; without one there is no loss."""
    if len(survey.outlines_in(tile.core)) == 0:
        return False
    inner = read_tile_graph(store, survey, tile.core, survey.genes, graph, listens_to=0)
    return bool((inner.fold == SUPERVISED).any())


def split_tiles(tiles: list[Tile], params: DatasetParams, seed: int) -> dict[str, list[Tile]]:
    """Give every tile to one split; at least one tile each."""
    if not tiles:
        message = (
            "no transcript lies inside a nucleus outline, so there is nothing to learn from; "
            "check that transcripts and outlines have the same unit (um) and origin"
        )
        raise InputError(message)
    if len(tiles) < len(SPLITS):
        message = (
            f"the slide gives {len(tiles)} tile(s) with transcripts inside nuclei, fewer than train, val and "
            "test need; take a larger region, or a model trained elsewhere (tissuegraph predict)"
        )
        raise InputError(message)
    order = np.random.default_rng(seed + 1).permutation(len(tiles))
    n_test = min(max(round(params.test_share * len(tiles)), 1), len(tiles) - 2)
    n_val = min(max(round(params.val_share * len(tiles)), 1), len(tiles) - n_test - 1)
    parts = np.split(order, [len(tiles) - n_val - n_test, len(tiles) - n_test])
    return {split: [tiles[i] for i in part] for split, part in zip(SPLITS, parts, strict=True)}


def write_card(folder: Path, genes: tuple[str, ...], graph: GraphParams, hops: int) -> None:
    """Write `dataset.json`: what the tiles of a split were made with."""
    card = {"format": FORMAT, "graph": asdict(graph), "hops": hops, "genes": list(genes)}
    (folder / CARD_FILE).write_text(json.dumps(card, indent=1) + "\n")


def read_card(folder: Path) -> tuple[tuple[str, ...], GraphParams, int]:
    """Read the panel, the graph parameters and the hops of a split.

    Raises
    ------
    InputError
        If the folder is not one that `tissuegraph dataset` wrote.
    """
    path = folder / CARD_FILE
    try:
        card = json.loads(path.read_text())
        if card["format"] != FORMAT:
            raise ValueError(card["format"])
        return tuple(card["genes"]), GraphParams(**card["graph"]), int(card["hops"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = (
            f"{folder} is no training data ({CARD_FILE} is missing, broken or of another version); "
            "make it with `tissuegraph dataset BUNDLE -o DIR` and give DIR/train or DIR/val"
        )
        raise InputError(message) from error


def write_raw_tile(
    folder: Path, tile: Tile, survey: Survey, store: TileStore, graph: GraphParams, hops: int
) -> None:
    """Write the transcripts and the outlines of one tile with its halo."""
    bounds = reach(tile.core, survey, graph, hops=hops, rounds=0)
    table = store.read(bounds)
    core = inside(table.select(keys.X, keys.Y).to_numpy(), tile.core)
    table.with_columns(pl.Series("in_core", core)).write_parquet(folder / transcripts_file(tile.index))
    numbers = survey.outlines_in(bounds)
    outlines = gpd.GeoDataFrame(
        {keys.CELL_ID: survey.boundary_ids[numbers].astype(str), "boundary": numbers},
        geometry=list(survey.outlines[numbers]),
    )
    outlines.to_parquet(folder / boundaries_file(tile.index))


@dataclass(frozen=True)
class RawTile:
    """A training tile: its graph, which transcripts [N] are of its core, its outlines [M] and axes [M]."""

    graph: TileGraph
    in_core: np.ndarray
    outlines: np.ndarray
    axes: LocalAxes


class SpatialTranscriptomicsDataset(InMemoryDataset):
    """The tiles of one split as graphs for the network.

    Reads `root/processed/*.safetensors`; a graph that is missing is made from `root/raw`. Nothing is
    pickled.

    Parameters
    ----------
    root
        A split that `tissuegraph dataset` wrote, e.g. `DIR/train`.
    transform
        Called on every graph when it is taken.

    Raises
    ------
    InputError
        If the folder is no training data, or has no tile.
    """

    def __init__(self, root: str | Path, transform: Callable[[HeteroData], HeteroData] | None = None) -> None:
        self.genes, self.graph_params, self.hops = read_card(Path(root))
        super().__init__(str(root), transform)
        self._data_list = [load_graph(Path(path)) for path in self.processed_paths]
        if not self._data_list:
            message = f"{root} has no tile in raw/; make the training data anew with `tissuegraph dataset`"
            raise InputError(message)

    @property
    def raw_file_names(self) -> list[str]:
        """Transcript files in `raw/`."""
        return sorted(p.name for p in Path(self.raw_dir).glob("tile_*.parquet") if "boundaries" not in p.name)

    @property
    def processed_file_names(self) -> list[str]:
        """Graph files in `processed/`, one a tile."""
        return [name.replace(".parquet", ".safetensors") for name in self.raw_file_names]

    def process(self) -> None:
        """Build the graph of every raw tile."""
        for index, path in enumerate(self.processed_paths):
            tile = self.raw_tile(index)
            supervised = tile.in_core & (tile.graph.fold == SUPERVISED)
            graph, kept = receptive_field(tile.graph, supervised, self.hops)
            save_graph(hetero_data(graph, supervised[kept]), Path(path))

    def raw_tile(self, index: int) -> RawTile:
        """Read a tile as it was cut, with all its candidate pairs."""
        path = Path(self.raw_paths[index])
        outlines_path = path.with_name(f"{path.stem}_boundaries.parquet")
        with reading(path):
            table = pl.read_parquet(path, glob=False)
        with reading(outlines_path):
            outlines = gpd.read_parquet(outlines_path)
        shapes = np.asarray(outlines.geometry.values)
        graph = tile_graph(
            tokens=gene_tokens(table[keys.GENE], self.genes),
            rows=table[keys.ROW].to_numpy(),
            positions=table.select(keys.X, keys.Y).to_numpy(),
            outlines=shapes,
            boundaries=outlines["boundary"].to_numpy(),
            params=self.graph_params,
        )
        angle = outlines.get("axis_angle", np.zeros(len(outlines)))
        ratio = outlines.get("axis_ratio", np.ones(len(outlines)))
        axes = LocalAxes(np.asarray(angle), np.asarray(ratio))
        return RawTile(graph, table["in_core"].to_numpy(), shapes, axes)

    def _process(self) -> None:
        """Make what is missing; PyG's own version writes pickled notes of its transforms."""
        if not all(Path(path).exists() for path in self.processed_paths):
            Path(self.processed_dir).mkdir(exist_ok=True)
            self.process()

    def len(self) -> int:
        """Tiles."""
        return len(self._data_list or [])

    def get(self, idx: int) -> HeteroData:
        """The graph of a tile; a copy, so that a transform cannot change the dataset."""
        return (self._data_list or [])[idx].clone()

    def save(self, *_: object) -> None:
        """Refused: PyG's format is a pickle."""
        message = "tiles are written by process(), as safetensors; PyG's pickled format is not used"
        raise NotImplementedError(message)

    load = save
