"""Units as tasks of a Ray cluster: the same files, also where nodes are killed or share no disk."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrobust import pipeline
from cxrobust.errors import DataError
from cxrobust.inference.executors import ray as on_ray
from cxrobust.predictions import load_predictions
from cxrobust.study import read_study

from .executing import (
    ATTACKED,
    KILLED_ONCE,
    assert_left_out_alike,
    assert_same_but_for_code,
    poisoned,
    predicted,
)
from .tiny import MODULE, unit_files, with_executor

pytest.importorskip("torch")
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes on this machine, whose models take their time."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY_WAIT", "0.02")
        patch.setenv("RAY_worker_niceness", "0")  # else other tests leave them hardly a core's time
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield made
        made.shutdown()


SEEN = MODULE.replace(
    "        time.sleep(",
    "        import ray, pathlib\n"
    "        if ray.is_initialized():  # not in the process that keeps example images\n"
    "            pathlib.Path(__file__).with_name('node-' + ray.get_runtime_context().get_node_id()).touch()\n"
    "        time.sleep(",
)
"""Networks that note the node which they run on."""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["gpus = 1"], r"\[compute\] cpus = 1 and gpus = 1: no node .* \(its nodes have: cpus = 1 and gpus = 0\)"),
        (["cpus = 64"], r"cpus = 64: no node of the Ray cluster has as much"),
        (["memory = 1e6"], r"cpus = 1 and memory = 1e\+06: no node"),
    ],
)
def test_what_no_node_has_is_refused(lines: list[str], message: str, tmp_path: Path, cluster: Any) -> None:
    with pytest.raises(DataError, match=message):
        predicted(with_executor(tmp_path, "ray", f'address = "{cluster.address}"', *lines))


def test_a_cluster_leaves_out_the_images_that_one_process_leaves_out(
    with_skipped: Path, tmp_path: Path, cluster: Any
) -> None:
    predicted(poisoned(tmp_path, "ray", f'address = "{cluster.address}"'))
    assert_left_out_alike(tmp_path, with_skipped)


@pytest.mark.parametrize(("cpus", "gpus", "fits"), [(4, 1, False), (2, 1, True), (4, 0, True), (2, 0.5, True)])
def test_one_node_must_have_all_that_a_unit_asks_for(cpus: int, gpus: float, *, fits: bool) -> None:
    nodes = [{"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}]
    if fits:
        on_ray._check_given({"num_cpus": cpus, "num_gpus": gpus}, nodes)
    else:
        with pytest.raises(DataError, match=r"cpus = 8 and gpus = 0; cpus = 2 and gpus = 1"):
            on_ray._check_given({"num_cpus": cpus, "num_gpus": gpus}, nodes)


ASSIGNED = MODULE.replace(
    "        time.sleep(",
    "        import json, pathlib, ray\n"
    "        if ray.is_initialized():\n"
    "            here = ray.get_runtime_context()\n"
    "            given = json.dumps([here.get_node_id(), here.get_assigned_resources()], sort_keys=True)\n"
    "            with pathlib.Path(__file__).with_name('assigned').open('a') as file:\n"
    "                file.write(given + '\\n')\n"
    "        time.sleep(",
)
"""Networks that note what Ray gave their task."""


def test_units_get_the_gpus_and_memory_that_they_ask_for(in_one_process: Path, tmp_path: Path, cluster: Any) -> None:
    node = cluster.add_node(num_cpus=2, num_gpus=1)
    lines = (f'address = "{cluster.address}"', "gpus = 0.5", "memory = 0.1")
    path = with_executor(tmp_path, "ray", *lines)
    (tmp_path / "tiny_networks.py").write_text(ASSIGNED)
    predicted(path)
    cluster.remove_node(node)
    assert_same_but_for_code(tmp_path, in_one_process)
    given = [json.loads(line) for line in set((tmp_path / "assigned").read_text().splitlines())]
    assert {place for place, _ in given} == {node.node_id}
    for _, resources in given:
        assert resources["GPU"] == 0.5
        assert resources["CPU"] == 1
        assert resources["memory"] == int(0.1 * 2**30)


def test_a_cluster_that_was_started_elsewhere_finds_a_study_by_a_relative_path(
    in_one_process: Path, tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_executor(tmp_path, "ray", f'address = "{cluster.address}"')
    path.write_text(path.read_text().replace("options = {", 'weights = "weights"\noptions = {'))
    (tmp_path / "weights").write_text("1")
    (tmp_path / "tiny_networks.py").write_text(
        MODULE.replace("    torch.manual_seed(seed)", "    torch.manual_seed(int(open(weights).read()) if seed else 0)")
    )
    monkeypatch.chdir(tmp_path)
    pipeline.predict(read_study(Path(path.name)), Path("out"))
    assert_same_but_for_code(tmp_path, in_one_process)


def test_a_node_that_is_killed_during_a_run_changes_nothing(in_one_process: Path, tmp_path: Path, cluster: Any) -> None:
    node = cluster.add_node(num_cpus=1)
    path = with_executor(tmp_path, "ray", f'address = "{cluster.address}"', "memory = 0.1")
    (tmp_path / "tiny_networks.py").write_text(SEEN)
    killed = []

    def kill() -> None:
        while len(unit_files(tmp_path / "out")) < 4 or len(list(tmp_path.glob("node-*"))) < 2:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        killed.append(len(unit_files(tmp_path / "out")))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    predicted(path)
    thread.join()
    assert killed[0] < 30
    assert len(list(tmp_path.glob("node-*"))) == 2
    assert_same_but_for_code(tmp_path, in_one_process)


def test_nodes_that_share_no_disk_send_files_through_the_store(
    in_one_process: Path, tmp_path: Path, cluster: Any
) -> None:
    path = with_executor(
        tmp_path,
        "ray",
        f'address = "{cluster.address}"',
        f'store = "file://{tmp_path / "store"}"',
    )
    (tmp_path / "tiny_networks.py").write_text(KILLED_ONCE.replace("WHEN", ATTACKED))
    predicted(path)
    assert (tmp_path / "killed").exists()
    assert_same_but_for_code(tmp_path, in_one_process)
    np.testing.assert_array_equal(
        load_predictions(tmp_path / "store").probabilities,
        load_predictions(in_one_process / "out" / "predictions").probabilities,
    )


def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def refuse(**_: object) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(DataError, match=r"address = 'auto': no Ray cluster answers \(nobody there\)"):
        predicted(with_executor(tmp_path / "far", "ray", 'address = "auto"'))
    with pytest.raises(DataError, match=r'executor = "ray": Ray does not start on this machine \(nobody there\)'):
        predicted(with_executor(tmp_path / "here", "ray"))


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_told_before_ray_tries_it(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    tried = []

    def refuse(*, address: str, **_: object) -> None:
        tried.append(address)
        raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(DataError, match="nobody there"), on_ray._connected(ray, address):
            pass
    with (
        pytest.raises(DataError, match=rf"address = '{address}': no Ray cluster answers \(Connection refused\): write"),
        on_ray._connected(ray, address),
    ):
        pass
    assert tried == [address]  # while a server listened


@pytest.mark.parametrize("address", ["127.0.0.1:65536", "127.0.0.1:port", "[::1:6379", "a..b:1"])
def test_an_address_that_cannot_be_one_is_one_sentence(address: str) -> None:
    ray = pytest.importorskip("ray")
    with pytest.raises(DataError, match="no Ray cluster answers"), on_ray._connected(ray, address):
        pass
