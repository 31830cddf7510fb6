"""Stores at `s3://…`, through s3fs and HTTP, against an S3 server in the test's own process."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrobust import pipeline
from cxrobust.errors import DataError
from cxrobust.inference.stores import Store
from cxrobust.inference.work import failure_of
from cxrobust.predictions import INDEX, load_predictions
from cxrobust.progress import Reporter
from cxrobust.study import read_study

from .tiny import unit_files, with_executor

pytest.importorskip("torch")
s3fs = pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
N_UNITS = 2 * 6 * 3 + 2
"""Two regimes, six conditions, three shards; and the validation images of each regime."""


@pytest.fixture(scope="module")
def files() -> Iterator[Any]:
    """The files of a server on this machine with one bucket, which this process and its children take for S3's."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    chosen = {
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in chosen.items():
            patch.setenv(name, value)
        made = s3fs.S3FileSystem()
        made.mkdir("bucket")
        yield made
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def units_of(folder: Path) -> list[str]:
    """Which units were done into a folder, by its log."""
    path = folder / "predictions" / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [one["key"] for one in map(json.loads, lines) if "key" in one]


def stop_after(n_images: int) -> Reporter:
    """Interrupt a run, as from the keyboard, when so many images of the grid are predicted."""

    def report(stage: str, done: int, total: int) -> None:
        if stage == "predicting images" and done >= n_images:
            raise KeyboardInterrupt

    return report


@pytest.fixture
def ray(files: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray of one core, whose workers take the server for S3's."""
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else other tests leave it hardly a core's time
    pytest.importorskip("ray").init(
        address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    yield
    pytest.importorskip("ray").shutdown()


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_run_that_was_interrupted_goes_on_from_s3_on_another_machine(
    executor: str, files: Any, in_one_process: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if executor == "ray":
        request.getfixturevalue("ray")
    study = read_study(with_executor(tmp_path, executor, f'store = "s3://bucket/{executor}"'))
    with pytest.raises(KeyboardInterrupt):
        pipeline.predict(study, tmp_path / "first", report=stop_after(150))
    stored = Store(f"s3://bucket/{executor}").names()
    assert 5 <= len(stored) < N_UNITS
    assert INDEX not in stored
    pipeline.predict(study, tmp_path / "second")
    again = units_of(tmp_path / "second")
    assert not {f"{key}.parquet" for key in again} & stored
    late = N_UNITS - len(stored) - len(again)  # what a worker was at when it was stopped may have come since
    assert 0 <= late <= (executor == "ray")
    assert unit_files(tmp_path / "second") == unit_files(in_one_process / "out")
    files.get(f"bucket/{executor}", str(tmp_path / "fetched"), recursive=True)
    fetched, whole = load_predictions(tmp_path / "fetched"), load_predictions(in_one_process / "out" / "predictions")
    np.testing.assert_array_equal(fetched.probabilities, whole.probabilities)
    for name, content in unit_files(in_one_process / "out").items():
        assert (tmp_path / "fetched" / name).read_bytes() == content


def test_what_other_machines_write_meanwhile_is_seen(files: Any) -> None:
    store, other = Store("s3://bucket/shared"), s3fs.S3FileSystem(skip_instance_cache=True)
    assert store.names() == frozenset()
    other.pipe_file("bucket/shared/a.parquet", b"a")
    assert store.names() == {"a.parquet"}
    other.pipe_file("bucket/shared/b.parquet", b"b")
    other.rm_file("bucket/shared/a.parquet")
    assert store.names() == {"b.parquet"}


def test_a_bucket_that_is_missing_ends_the_run_by_name_and_is_not_made(files: Any, tmp_path: Path) -> None:
    study = read_study(with_executor(tmp_path, "local", 'store = "s3://mistyped/run"'))
    with pytest.raises(
        DataError, match=r"^s3://mistyped/run: the store cannot be used \(The specified bucket does not"
    ):
        pipeline.predict(study, tmp_path / "out")
    assert len(unit_files(tmp_path / "out")) == 1  # and no other unit was begun
    assert s3fs.S3FileSystem(skip_instance_cache=True).ls("") == ["bucket"]


def test_a_server_that_does_not_answer_may_answer_later(
    files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    (tmp_path / "a.parquet").write_bytes(b"a")
    with pytest.raises(DataError, match=r"s3://bucket/run: the store cannot be used \(Could not connect") as caught:
        Store("s3://bucket/run").put(tmp_path / "a.parquet")
    failure = failure_of(caught.value, tmp_path)
    assert failure.may_pass
    assert not failure.ends_run
    s3fs.S3FileSystem.clear_instance_cache()
