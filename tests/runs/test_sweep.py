"""`tg.sweep`: spaces, trials on held-out cells, going on after a stop, the picture and the command."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

import tissuegraph as tg
from tissuegraph.cli import main
from tissuegraph.errors import InputError, ModelError, OutputError
from tissuegraph.metrics.searches import variance_share
from tissuegraph.runs import sweep_models
from tissuegraph.runs.sweep_cells import read_words
from tissuegraph.runs.sweep_models import Embedding, judge_of, split_cells
from tissuegraph.runs.sweep_space import read_space

SPACE = {"dimensions": [4, 8], "learning_rate": (1e-2, 0.5, "log"), "epochs": (1, 3)}
QUICK = {"model": "node2vec", "n_folds": 2}


@pytest.fixture(scope="module")
def cells():
    adata = tg.simulate.omics(150, 20, seed=1)
    tg.expression_neighbors(adata)
    return adata


def stop_after(monkeypatch, count):
    """The embedding raises once so many trials are done, as a process that is killed."""
    scores, done = Embedding.scores, []

    def until(self, params):
        if len(done) == count:
            raise KeyboardInterrupt
        done.append(params)
        return scores(self, params)

    monkeypatch.setattr(Embedding, "scores", until)
    return done


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_search_that_was_stopped_ends_as_one_that_was_not(cells, tmp_path, monkeypatch, search):
    monkeypatch.setattr("tissuegraph.runs.sweep_study.STARTUP", 3)
    arguments = {**QUICK, "search": search, "n_trials": 6}
    whole = tg.sweep(cells, SPACE, **arguments, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            tg.sweep(cells, SPACE, **arguments, out=tmp_path / "out")
    with (tmp_path / "out" / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code": 4, "tru')  # a line that was not written to its end
    with monkeypatch.context() as patch:
        done = stop_after(patch, 3)
        again = tg.sweep(cells, SPACE, **arguments, out=tmp_path / "out")
        assert len(done) == 3
        pd.testing.assert_frame_equal(whole, again, check_exact=True)
        attrs = dict(again.attrs)
        assert attrs == whole.attrs
        finished = tg.sweep(cells, SPACE, **arguments, out=tmp_path / "out")  # nothing is left to be tried
    pd.testing.assert_frame_equal(whole, finished, check_exact=True)
    for name in ("table.csv", "sweep.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    record = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert record["best"] == whole.attrs["best"]
    assert record["seed"] == 0
    assert "optuna" in record["versions"]
    assert (tmp_path / "out" / "sweep.png").stat().st_size > 5_000


def test_more_trials_go_on_and_other_arguments_are_refused(cells, tmp_path):
    out = tmp_path / "out"
    few = tg.sweep(cells, SPACE, **QUICK, n_trials=2, out=out)
    more = tg.sweep(cells, SPACE, **QUICK, n_trials=3, out=out)
    pd.testing.assert_frame_equal(few.drop(columns="epochs"), more.iloc[:2].drop(columns="epochs"))
    with pytest.raises(InputError, match="another seed: 0, now 1"):
        tg.sweep(cells, SPACE, **QUICK, seed=1, out=out)
    with pytest.raises(InputError, match="another space"):
        tg.sweep(cells, {"dimensions": [4, 9]}, **QUICK, out=out)
    with pytest.raises(InputError, match="another cells"):
        tg.sweep(cells[:140].copy(), SPACE, **QUICK, out=out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="no folder of a sweep"):
        tg.sweep(cells, SPACE, **QUICK, out=tmp_path / "mine")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_grid_tries_the_defaults_first_and_then_everything(cells):
    before = cells.copy()
    table = tg.sweep(cells, {"dimensions": [4, 64], "epochs": [1, "auto"]}, **QUICK, search="grid")
    tried = list(table[["dimensions", "epochs"]].itertuples(index=False, name=None))
    assert tried == [(64, "auto"), (4, 1), (4, "auto"), (64, 1)]
    assert table.attrs["default"] == {"dimensions": 64, "epochs": "auto"}
    best = table["score"].idxmax()
    assert table.attrs["best_trial"] == best
    assert table.attrs["score"] == {"best": table["score"][best], "default": table["score"][0]}
    assert set(cells.obsm) == set(before.obsm)
    assert cells.obs.equals(before.obs)
    with pytest.raises(InputError, match=r"grid has 4 points.*give n_trials=4"):
        tg.sweep(cells, {"dimensions": [4, 64], "epochs": [1, "auto"]}, **QUICK, search="grid", n_trials=3)


@pytest.mark.parametrize(
    ("space", "search", "message"),
    [
        ({"hiden": [1]}, "random", r"no field 'hiden' in AnnotateParams; there are: n_components, .*hidden"),
        ({}, "random", "the space is empty"),
        ({"hidden": (16, 64)}, "grid", "hidden is a range, which a grid cannot try; list values"),
        ({"hidden": (64, 16)}, "random", "low < high"),
        ({"hidden": (16, 32, 64)}, "random", r"single values in brackets"),
        ({"weight_decay": (0, 1, "log")}, "random", "above 0 for 'log'"),
        ({"hidden": 16}, "random", "give a list of values, or a range"),
        ({"hidden": [16, 16]}, "random", "a value twice"),
        ({"hidden": [object()]}, "random", "neither number, text nor truth value"),
    ],
)
def test_a_bad_space_is_refused(cells, space, search, message):
    with pytest.raises(InputError, match=message):
        tg.sweep(cells, space, search=search)


def test_bad_arguments_are_refused(cells):
    for more, message in (
        ({"model": "forest"}, "choose one of annotate"),
        ({"search": "best"}, "choose one of grid"),
        ({"n_trials": 0}, "n_trials is 0"),
        ({"n_folds": 1}, "n_folds is 1"),
        ({"labels": "types"}, "no column 'types' in obs; found: cell_type"),
        ({"n_folds": 40}, "too few for 40 folds"),
    ):
        with pytest.raises(InputError, match=message):
            tg.sweep(cells, {"hidden": [16]}, **more)


def test_ranges_are_drawn_whole_or_not_and_within():
    axes = read_space(
        {"hidden": (1, 4), "dropout": (0, 1), "epochs": (1, 100, "log")}, tg.AnnotateParams(), "tpe"
    )
    rng = np.random.default_rng(0)
    drawn = [[axis.draw(rng) for _ in range(2_000)] for axis in axes]
    assert set(drawn[0]) == {1, 2, 3, 4}
    assert all(isinstance(value, int) for value in drawn[0] + drawn[2])
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in drawn[1])
    assert min(drawn[2]) == 1
    assert max(drawn[2]) == 100
    assert 6 <= np.median(drawn[2]) <= 8  # sqrt(0.5 * 100.5)
    np.testing.assert_allclose(np.bincount(drawn[0])[1:] / 2_000, 0.25, atol=0.04)


def test_parts_hold_every_label_and_share_no_cell(cells):
    cells = cells.copy()
    cells.obs.loc[cells.obs_names[:20], "cell_type"] = np.nan
    split = split_cells(cells, "cell_type", 3, 0)
    parts = [*split.folds, split.test]
    together = np.sort(np.concatenate(parts))
    assert np.array_equal(together, np.arange(20, 150))
    for part in parts:
        assert set(split.labels[part]) == set(cells.obs["cell_type"].cat.categories)
    assert abs(len(split.test) / 130 - 0.2) < 0.03
    assert np.ptp([len(fold) for fold in split.folds]) <= 3


def test_labels_of_chance_are_scored_as_chance(cells):
    """A model that remembers the labels it saw, or sees those it is asked for, would score far above."""
    cells = cells.copy()
    rng = np.random.default_rng(0)
    cells.obs["cell_type"] = pd.Categorical(rng.permutation(np.repeat(["a", "b"], 75)))
    split = split_cells(cells, "cell_type", 2, 0)
    nodes = judge_of("node2vec", cells, "cell_type", split, 0)
    assert np.mean(nodes.scores(tg.Node2VecParams(epochs=1))) < 0.65
    typed = judge_of("annotate", cells, "cell_type", split, 0)
    assert np.mean(typed.scores(tg.AnnotateParams(epochs=2, folds=2, hidden=8))) < 0.65


def test_annotate_is_shown_only_the_labels_it_may_learn_from(cells, monkeypatch):
    shown = []

    def remember(adata, **how):
        assert (how["unknown"], how["key_added"]) == (False, "swept")
        shown.append(np.flatnonzero(adata.obs[how["labels"]].notna()))
        adata.obs[how["key_added"]] = adata.obs[how["labels"]].astype(object).fillna("type 1")

    monkeypatch.setattr("tissuegraph.cells.annotate.annotate", remember)
    table = tg.sweep(cells, {"hidden": [16]}, n_folds=3)
    split = split_cells(cells, "cell_type", 3, 0)
    for seen, fold in zip(shown[:3], split.folds, strict=True):
        assert not np.isin(np.concatenate([fold, split.test]), seen).any()
        assert len(seen) + len(fold) + len(split.test) == 150
    assert table["score"].max() < 0.1  # one of six types, guessed always
    assert np.array_equal(shown[-1], split.rest)


def test_an_embedding_sees_no_label(cells, monkeypatch):
    seen = []
    monkeypatch.setattr(sweep_models, "embed", lambda adata, *_: seen.append(list(adata.obs)) or fill(adata))

    def fill(adata):
        adata.obsm["swept"] = np.random.default_rng(0).normal(size=(150, 3))

    space = {"pre_labels": [None, "cell_type"]}
    table = tg.sweep(cells, space, model="stagate", n_folds=2, n_trials=2)
    assert all("cell_type" not in columns for columns in seen)
    assert list(table["pre_labels"]) == [None, "cell_type"]


def test_trials_that_make_no_model_are_kept_with_the_reason(cells, caplog):
    space = {"dimensions": [6], "heads": [4], "encoder": ["gat"], "epochs": [1]}
    with caplog.at_level("INFO"):
        table = tg.sweep(cells, space, model="infomax", n_folds=2, search="grid")
    assert np.isnan(table["score"][1])
    assert "cannot be shared by 4 heads" in table["failed"][1]
    assert table["failed"][0] == ""
    assert "chosen: the defaults" in caplog.text
    assert "1 of 2 trials failed" in caplog.text
    table = tg.sweep(cells, {"p": ["x"]}, **QUICK, search="grid")
    assert "p=x makes no Node2VecParams" in table["failed"][1]


def test_defaults_that_fail_are_an_error(cells, monkeypatch):
    def fail(*_):
        raise ModelError("training ran into numbers that are not finite")

    monkeypatch.setattr(Embedding, "scores", fail)
    with pytest.raises(ModelError, match="not finite"):
        tg.sweep(cells, SPACE, **QUICK)


def test_clusters_are_scored_by_the_rand_index_without_folds(cells):
    fewer = {"n_clusters": [6], "method": ["kmeans"], "n_starts": [2]}
    table = tg.sweep(cells, fewer, model="cluster", search="grid")
    assert table.attrs["metric"] == "ARI"
    assert table["sd"].isna().all()
    copy = cells.copy()
    tg.cluster_cells(copy, 6, "kmeans", n_starts=2)
    rest = split_cells(cells, "cell_type", 5, 0).rest
    truth, found = (copy.obs[name].to_numpy()[rest] for name in ("cell_type", "cluster"))
    assert table["score"][1] == adjusted_rand_score(truth, found)
    assert table["score"][1] > 0.2


def test_the_share_of_variance_is_that_of_the_groups_and_nothing_by_chance():
    rng = np.random.default_rng(0)
    values = list(rng.integers(0, 3, 300))
    noise = rng.normal(size=300)
    assert variance_share(values, noise, ordered=False) < 0.03
    shares = [
        variance_share(list(values), np.array(values) * size + noise, ordered=False) for size in (0.5, 2)
    ]
    assert 0.05 < shares[0] < shares[1] < 0.9
    assert variance_share(values, np.array(values, float), ordered=False) == 1
    line = list(np.linspace(0, 1, 40))
    assert variance_share(line, line, ordered=True) > 0.9
    assert variance_share(["auto", *line], [9.0, *line], ordered=True) > 0.9
    assert variance_share([1, 2], [1.0, 2.0], ordered=False) == 0
    assert variance_share([], [], ordered=False) == 0


def test_the_picture_has_a_panel_a_parameter_by_importance(cells):
    import matplotlib.pyplot as plt

    table = tg.sweep(cells, SPACE, **QUICK, n_trials=5)
    figure = tg.plot.sweep(table)
    importance = table.attrs["importance"]
    order = [ax.get_xlabel() for ax in figure.axes]
    assert order == sorted(importance, key=lambda name: -importance[name])
    scales = {ax.get_xlabel(): ax.get_xscale() for ax in figure.axes}
    assert scales == {"dimensions": "linear", "learning_rate": "log", "epochs": "linear"}
    plt.close(figure)
    with pytest.raises(InputError, match=r"give the table that tg\.sweep returned"):
        tg.plot.sweep(pd.DataFrame({"score": [1.0]}))
    ax = plt.subplots()[1]
    with pytest.raises(InputError, match="1 axes are given for 3 parameters"):
        tg.plot.sweep(table, ax)
    plt.close("all")


def test_a_space_that_is_typed():
    typed = read_words(
        "hidden=16,64; learning_rate=1e-4..1e-2:log;epochs=1..9;z_score=true,auto;n_clusters=none"
    )
    assert typed == {
        "hidden": [16, 64],
        "learning_rate": (1e-4, 1e-2, "log"),
        "epochs": (1, 9),
        "z_score": [True, "auto"],
        "n_clusters": [None],
    }
    for text, message in (("hidden", "write name=1,2,3"), ("a=1;a=2", "'a' twice")):
        with pytest.raises(InputError, match=message):
            read_words(text)


def test_the_command(cells, tmp_path, capsys):
    cells.write_h5ad(tmp_path / "in.h5ad")
    line = ["sweep", str(tmp_path / "in.h5ad"), "-o", str(tmp_path / "out"), "--model", "node2vec"]
    line += ["--n-folds", "2", "--n-trials", "2", "--space"]
    assert main([*line, "dimensions=4,8;epochs=1..2"]) == 0
    assert len(pd.read_csv(tmp_path / "out" / "table.csv")) == 2
    assert main([*line, "dimension=4"]) == 2
    assert "no field 'dimension' in Node2VecParams" in capsys.readouterr().err


# ---- without labels


def without_labels(**settings) -> pd.DataFrame:
    adata = tg.simulate.omics(160, 30, n_types=3, separation=6.0)
    del adata.obs["cell_type"]
    given = {"model": "cluster", "labels": None, "search": "grid", **settings}
    return tg.sweep(adata, {"n_clusters": [3, 9], "method": ["kmeans"], "fewest": [2]}, **given)


def test_clusters_without_labels_are_scored_by_their_stability(tmp_path):
    table = without_labels(out=tmp_path / "out")
    assert table.attrs["metric"] == "stability"
    assert table.attrs["best"]["n_clusters"] in (3, None)
    scores = table.set_index("n_clusters")["score"]
    assert scores[3] > 0.5 > scores[9]
    assert table.attrs["test"] == {}
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["test"] == {}
    again = without_labels(out=tmp_path / "out")
    pd.testing.assert_frame_equal(table, again)


def test_other_models_need_labels():
    adata = tg.simulate.omics(60, 20)
    with pytest.raises(InputError, match="'infomax' is scored by labels; name their column with labels="):
        tg.sweep(adata, {"dimensions": [8]}, model="infomax", labels=None)


def test_few_cells_have_no_stability():
    adata = tg.simulate.omics(20, 20)
    judge = judge_of("cluster", adata, None, split_cells(adata, None, 5, 0), 0)
    with pytest.raises(InputError, match="20 cells are too few to tell how stable 9 clusters are"):
        judge.scores(tg.ClusterParams(n_clusters=9, method="kmeans"))


def test_the_command_without_labels(tmp_path):
    path, out = tmp_path / "in.h5ad", tmp_path / "out"
    tg.simulate.omics(80, 20, n_types=2, separation=6.0).write_h5ad(path)
    line = ["sweep", str(path), "-o", str(out), "--model", "cluster", "--no-labels"]
    assert main([*line, "--space", "n_clusters=2,3;method=kmeans;most=4", "--search", "grid"]) == 0
    assert json.loads((out / "sweep.json").read_text())["metric"] == "stability"
