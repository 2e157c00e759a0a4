"""The pretrained networks' file: the same bits come back, and what is none is refused in one sentence."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_pairs import drawn, pairs_on, random_network
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tissuegraph.errors import ModelError
from tissuegraph.nn.pair_inference import infer
from tissuegraph.nn.pairs import PairNet
from tissuegraph.segmentation.pretrained.evidence import FIRST_ROUND, SECOND_ROUND, first_evidence
from tissuegraph.segmentation.pretrained.model import (
    FORMAT,
    SHIPPED,
    PairModel,
    is_pair_model,
    load_pair_model,
)
from tissuegraph.segmentation.pretrained.params import HEARD
from tissuegraph.segmentation.pretrained.tile_pairs import TilePairs, pairs_heard


def made() -> PairModel:
    """Random networks, the second of two layers."""
    return PairModel(
        random_network(len(FIRST_ROUND), 3), random_network(len(SECOND_ROUND), 4, 2), {"seed": 3}
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    made().save(tmp_path / "model")
    return tmp_path / "model"


def test_what_is_read_is_what_was_written(tmp_path):
    model = made()
    model.first.standardise(torch.randn(50, len(FIRST_ROUND)))
    model.save(tmp_path / "a/b")
    found = load_pair_model(tmp_path / "a/b")
    assert found.card == {"seed": 3}
    for name in ("first", "second"):
        one, other = getattr(model, name).state_dict(), getattr(found, name).state_dict()
        assert list(one) == list(other)
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert not getattr(found, name).training
    found.save(tmp_path / "again")
    for file in ("model.safetensors", "model.json"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "a/b" / file).read_bytes()


@pytest.mark.parametrize(("hidden", "layers", "heads"), [(16, 0, 4), (32, 1, 2), (12, 3, 3)])
def test_networks_of_any_width_and_depth_come_back(tmp_path, hidden, layers, heads):
    first = PairNet(len(FIRST_ROUND), hidden, layers, heads)
    second = PairNet(len(SECOND_ROUND), hidden=8, layers=2, heads=1)
    PairModel(first, second, {}).save(tmp_path)
    found = load_pair_model(tmp_path)
    for one, other in ((first, found.first), (second, found.second)):
        assert repr(one) == repr(other)  # sizes and heads of every layer
        assert one.attention == other.attention
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def listening(pairs: TilePairs, seed: int = 0):
    """What the second network is given of a tile: features, pairs, places and whom each pair hears."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(len(pairs.tx), len(SECOND_ROUND))).astype(np.float32)
    place = generator.normal(0, 6, (len(pairs.tx), 2)).astype(np.float32)
    return features, pairs.first, place, pairs_heard(pairs, HEARD)


def test_what_is_read_answers_as_what_was_written(folder):
    one, model, found = drawn(0), made(), load_pair_model(folder)
    features = first_evidence(one.pairs, one.ground, one.profiles)
    first = [infer(each.first, features, one.pairs.first) for each in (model, found)]
    second = [infer(each.second, *listening(one.pairs)) for each in (model, found)]
    for expected, answer in (first, second):
        assert all(np.array_equal(*both) for both in zip(answer, expected, strict=True))
        assert np.ptp(answer[0]) > 0.1


def test_the_file_says_what_it_looks_at_and_is_no_pickle(folder):
    card = json.loads((folder / "model.json").read_text())
    assert card["features"] == {"first": list(FIRST_ROUND), "second": list(SECOND_ROUND)}
    assert card["format"] == FORMAT
    with safe_open(folder / "model.safetensors", "np") as file:
        assert {name.split(".")[0] for name in file.keys()} == {"first", "second"}  # noqa: SIM118
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "model.json"}


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Spy()))


def torch_saved(folder: Path) -> None:
    torch.save({"first": Spy()}, folder / "model.safetensors")


def card_changed(**changes):
    def change(folder: Path) -> None:
        card = json.loads((folder / "model.json").read_text()) | changes
        (folder / "model.json").write_text(json.dumps(card))

    return change


def card_is(text: str):
    return lambda folder: (folder / "model.json").write_text(text)


def without(name: str):
    return lambda folder: (folder / name).unlink()


def tensors_changed(change):
    def write(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return write


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


class Spy:
    """Tells when it is unpickled."""

    unpickled = False

    def __reduce__(self):
        return (setattr, (Spy, "unpickled", True))


FEATURES = {"first": list(FIRST_ROUND), "second": list(SECOND_ROUND)}
HARMS = {
    "pickled": pickled,
    "saved by torch": torch_saved,
    "cut short": cut_short,
    "no weights": without("model.safetensors"),
    "no card": without("model.json"),
    "card is no JSON": card_is("{"),
    "card is a list": card_is("[]"),
    "card is empty": card_is("{}"),
    "an older format": card_changed(format=FORMAT - 1),
    "a newer format": card_changed(format=FORMAT + 1),
    "another kind": card_changed(kind="segger"),
    "other features": card_changed(features={"first": ["distance"], "second": []}),
    "a feature less": card_changed(features=FEATURES | {"second": FEATURES["second"][:-1]}),
    "a feature more": card_changed(features=FEATURES | {"first": [*FEATURES["first"], "odd"]}),
    "features in another order": card_changed(features=FEATURES | {"first": FEATURES["first"][::-1]}),
    "no second network": tensors_changed(
        lambda all_: [all_.pop(name) for name in list(all_) if name.startswith("second")]
    ),
    "a weight is missing": tensors_changed(lambda all_: all_.pop("first.none.0.bias")),
    "a weight too many": tensors_changed(lambda all_: all_.update({"first.odd": torch.zeros(1)})),
    "a weight of another shape": tensors_changed(
        lambda all_: all_.update({"first.none.0.bias": torch.zeros(3)})
    ),
    "networks for other features": tensors_changed(
        lambda all_: [
            all_.update({f"first.{name}": all_[f"second.{name}"].clone()})
            for name in ("encode.0.weight", "mean", "scale")
        ]
    ),
    "a layer of attention is missing": tensors_changed(
        lambda all_: [all_.pop(name) for name in list(all_) if name.startswith("second.listen.1")]
    ),
    "attention of other heads": tensors_changed(
        lambda all_: [
            all_.update({name: value[:, :-1].clone()}) for name, value in all_.items() if "att" in name
        ]
    ),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
def test_what_is_no_model_is_refused_in_one_sentence(folder, harm):
    harm(folder)
    with pytest.raises(ModelError) as caught:
        load_pair_model(folder)
    said = str(caught.value)
    assert str(folder) in said
    assert "\n" not in said
    assert "install the package anew" in said
    assert not Spy.unpickled


def test_a_run_stands_for_its_model_and_others_are_told_apart(folder, tmp_path):
    assert is_pair_model(folder)
    assert is_pair_model(folder.parent)  # a run, which holds model/
    assert load_pair_model(folder.parent).card == {"seed": 3}
    assert not is_pair_model(tmp_path / "nowhere")
    for text in ("{", "[]", "{}", '{"kind": "segger"}', "\udcff"):
        (folder / "model.json").write_bytes(text.encode(errors="surrogateescape"))
        assert not is_pair_model(folder), text


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        load_pair_model(tmp_path / "nowhere")


def test_transcripts_without_candidates_belong_to_none():
    nothing = np.empty(0, object)
    model = made()
    for n in (2, 0):
        pairs = pairs_on(np.arange(2.0 * n).reshape(n, 2), nothing)
        no_features = np.empty((0, len(FIRST_ROUND)), np.float32)
        for q, q_none in (
            infer(model.first, no_features, pairs.first),
            infer(model.second, *listening(pairs)),
        ):
            assert len(q) == 0
            assert q_none.tolist() == [1] * n


@pytest.mark.skipif(not (SHIPPED / "model.json").exists(), reason="no weights are shipped")
def test_the_model_that_is_shipped_can_be_read_and_says_how_it_was_made():
    model = load_pair_model()
    assert model.card
    for network in (model.first, model.second):
        assert all(value.isfinite().all() for value in network.state_dict().values())
        assert (network.scale > 0).all()
    assert replace(model, card={}).first is model.first
