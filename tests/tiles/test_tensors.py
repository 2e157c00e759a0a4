"""A tile's graph on disk: what is read is what was written, and nothing is unpickled."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tissuegraph.errors import InputError
from tissuegraph.graph.hetero import hetero_data
from tissuegraph.tiles.tensors import load_graph, save_graph


def attributes(data) -> dict:
    return {
        (kind, name): value
        for kind, store in [*data.node_items(), *data.edge_items()]
        for name, value in store.items()
    }


def assert_same(one, other) -> None:
    first, second = attributes(one), attributes(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert second[name].dtype == value.dtype, name
        assert torch.equal(second[name], value), name


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(0, 5))
def test_a_graph_survives_the_disk(tmp_path_factory, seed, n, m):
    path = tmp_path_factory.mktemp("graphs") / "tile.safetensors"
    graph = toy.random_tile(seed, n, m, side=15.0)
    data = hetero_data(graph, graph.fold == 1)
    save_graph(data, path)
    assert_same(data, load_graph(path))


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        save_graph(hetero_data(toy.tile(), toy.NUCLEAR), tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_types_and_metadata_are_read_back(tmp_path):
    data = hetero_data(toy.tile(), np.zeros(40, bool))
    save_graph(data, tmp_path / "tile")
    read = load_graph(tmp_path / "tile")
    assert read.metadata()[0] == sorted(data.metadata()[0])
    assert set(read.edge_types) == {("tx", "neighbors", "tx"), ("tx", "belongs", "bd")}
    assert read["tx"].num_nodes == 40


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_cut_short_is_an_input_error(tmp_path, share):
    path = tmp_path / "tile.safetensors"
    save_graph(hetero_data(toy.tile(), toy.NUCLEAR), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"tile\.safetensors is not a complete tile graph"):
        load_graph(path)


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        load_graph(tmp_path / "nowhere")


def test_a_pickle_is_not_unpickled(tmp_path):
    (tmp_path / "tile").write_bytes(pickle.dumps({"tx/x": 1}))
    with pytest.raises(InputError, match="not a complete tile graph"):
        load_graph(tmp_path / "tile")


def test_tensors_that_are_no_graph_are_an_input_error(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "tile")
    with pytest.raises(InputError, match="not a complete tile graph"):
        load_graph(tmp_path / "tile")
