"""A graph on disk: safetensors, nothing pickled."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor
from torch_geometric.data import HeteroData

from tissuegraph.errors import InputError

SEPARATOR = "__"
"""Between the parts of an edge type, and before the attribute: `tx__belongs__bd/edge_index`."""


def save_graph(data: HeteroData, path: Path) -> None:
    """Write every tensor of a graph to one safetensors file, named `<node or edge type>/<attribute>`."""
    tensors: dict[str, Tensor] = {}
    for kind, store in [*data.node_items(), *data.edge_items()]:
        name = kind if isinstance(kind, str) else SEPARATOR.join(kind)
        tensors |= {f"{name}/{attribute}": value.contiguous() for attribute, value in store.items()}
    path.write_bytes(save(tensors))  # save_file would let nobody but the owner read it


def load_graph(path: Path) -> HeteroData:
    """Read a graph that `save_graph` wrote.

    Raises
    ------
    InputError
        If the file is not safetensors, is cut short or holds something else.
    """
    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors raises its own type and bare OSError alike
        message = f"{path} is not a complete tile graph ({error}); make the training data anew"
        raise InputError(message) from error
    data = HeteroData()
    for name, value in sorted(tensors.items()):
        kind, _, attribute = name.partition("/")
        if not attribute:
            message = f"{path} is not a complete tile graph (tensor {name!r}); make the training data anew"
            raise InputError(message)
        parts = tuple(kind.split(SEPARATOR))
        data[parts if len(parts) > 1 else kind][attribute] = value
    return data
