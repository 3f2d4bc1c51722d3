"""The workers of a training: what names them, and that all of them come."""

import json
import socket
import threading
import time

import pytest

from pruneflow.errors import ConfigError
from pruneflow.runtime import cluster
from pruneflow.runtime.cluster import Cluster, meet, of_slurm, of_tf_config


def tf_config(task, **jobs):
    return json.dumps({"cluster": jobs, "task": task})


def test_a_chief_of_its_own_comes_before_the_workers():
    said = tf_config({"type": "worker", "index": 1}, chief=["a:1"], worker=["b:1", "c:1"])
    assert of_tf_config(said) == Cluster(("a:1", "b:1", "c:1"), 2)
    said = tf_config({"type": "chief", "index": 0}, chief=["a:1"], worker=["b:1", "c:1"])
    assert of_tf_config(said) == Cluster(("a:1", "b:1", "c:1"), 0)


FIRST = {"type": "worker", "index": 0}
WRONG = {
    "{bad": "it is no JSON (Expecting property name",
    "[]": "it must name a cluster of workers, and the task of this process",
    '{"cluster": {"worker": ["a:1", "b:1"]}}': "it must name a cluster of workers, and the task of this",
    tf_config(FIRST, ps=["a:1"], worker=["b:1", "c:1"]): "it must name a cluster of workers",
    tf_config(FIRST, worker="a:1"): "the addresses of workers must be a list",
    tf_config({"type": "worker", "index": 2}, worker=["a:1", "b:1"]): "task worker 2 is not in its cluster",
    tf_config({"type": "evaluator", "index": 0}, worker=["a:1", "b:1"]): "task evaluator 0 is not in its",
    tf_config({"type": ["worker"], "index": 0}, worker=["a:1", "b:1"]): "task ['worker'] 0 is not in its",
    tf_config({"type": "worker", "index": True}, worker=["a:1", "b:1"]): "task worker True is not in its",
    tf_config(FIRST, worker=["a", "b:1"]): "a is no host:port",
    tf_config(FIRST, worker=["a:70000", "b:1"]): "a:70000 is no host:port",
    tf_config(FIRST, worker=["::1:1", "b:1"]): "::1:1: an address of IPv6 stands in brackets, as in [::1]:",
    tf_config(FIRST, worker=["a:1", "a:1"]): "it has an address twice",
    tf_config(FIRST, worker=["a:1"]): "it names one worker; device.strategy=mirrored takes all GPUs",
}


@pytest.mark.parametrize(("said", "problem"), WRONG.items())
def test_a_tf_config_that_names_no_cluster_is_refused(said, problem, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", said)
    with pytest.raises(ConfigError) as refused:
        cluster.found()
    assert str(refused.value).startswith(f"TF_CONFIG={said}: {problem}")
    assert str(refused.value).endswith(f"Write it as {cluster.SHAPE}.")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("[" * 100_000, "it is no JSON"),
        (tf_config(FIRST, worker=["b:1", f"a:{'1' * 5000}"]), "is no host:port"),
    ],
    ids=["deep", "long"],
)
def test_a_tf_config_that_python_cannot_read_is_refused(said, problem):
    with pytest.raises(ConfigError, match=problem):
        of_tf_config(said)


SLURM = {
    "SLURM_JOB_ID": "18005",
    "SLURM_PROCID": "3",
    "SLURM_STEP_NODELIST": "gpu[08-10],big",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2),2,1",
}


def test_the_tasks_of_slurm_are_workers_on_ports_that_follow_from_the_job(monkeypatch):
    assert of_slurm(SLURM) == Cluster(
        ("gpu08:12005", "gpu09:12005", "gpu10:12005", "gpu10:12006", "big:12005"), 3
    )
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert cluster.found() == of_slurm(SLURM)
    monkeypatch.setenv("TF_CONFIG", tf_config(FIRST, worker=["a:1", "b:1"]))  # which was set on purpose
    assert cluster.found() == Cluster(("a:1", "b:1"), 0)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"SLURM_JOB_ID": "x"}, "the environment of Slurm does not name the workers (invalid literal"),
        ({"SLURM_STEP_TASKS_PER_NODE": "1"}, "the environment of Slurm does not name the workers (zip()"),
        (
            {"SLURM_STEP_NODELIST": "a", "SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_PROCID": "0"},
            "Slurm started 1 task",
        ),
    ],
)
def test_an_environment_of_slurm_that_names_no_workers_is_refused(changed, problem):
    with pytest.raises(ConfigError) as refused:
        of_slurm({**SLURM, **changed})
    assert str(refused.value).startswith(f"device.strategy=multi_worker: {problem}")


def free_ports(count, host="127.0.0.1", family=socket.AF_INET):
    with_port = [socket.create_server((host, 0), family=family) for _ in range(count)]
    ports = [each.getsockname()[1] for each in with_port]
    for each in with_port:
        each.close()
    return ports


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_workers_meet_and_leave_their_ports_free(host, family):
    written = f"[{host}]" if ":" in host else host
    addresses = tuple(f"{written}:{port}" for port in free_ports(3, host, family))
    threads = [
        threading.Thread(target=meet, args=(Cluster(addresses, index),), kwargs={"seconds": 60})
        for index in (1, 2)
    ]
    for thread in threads:
        thread.start()
    meet(Cluster(addresses, 0), seconds=60)
    for thread in threads:
        thread.join()
    for address in addresses:
        socket.create_server((host, int(address.rpartition(":")[2])), family=family).close()


def test_a_worker_that_does_not_come_is_named():
    first, second = (f"127.0.0.1:{port}" for port in free_ports(2))
    with pytest.raises(ConfigError) as refused:
        meet(Cluster((first, second), 0), seconds=0.1)
    assert str(refused.value) == (
        f"device.strategy=multi_worker: {second} (worker 1) did not come within "
        "device.worker_wait_seconds=0.1. Start the same command there, or raise that limit."
    )


def test_a_worker_that_cannot_be_reached_is_waited_for_no_longer_than_the_limit():
    """It has come, and greets this one, but its own address leads nowhere."""
    first, second = (f"127.0.0.1:{port}" for port in free_ports(2))
    said = []

    def wait():
        with pytest.raises(ConfigError) as refused:
            meet(Cluster((first, second), 0), seconds=2)
        said.append(str(refused.value))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    while thread.is_alive() and not cluster._greeted(first, 1):
        time.sleep(0.01)
    thread.join(60)
    assert len(said) == 1
    assert f"{second} (worker 1) did not come within device.worker_wait_seconds=2" in said[0]


def test_a_worker_that_is_typed_with_the_place_of_another_one_has_not_come():
    """It would greet itself, and take itself for the worker that it should be."""
    (port,) = free_ports(1)
    with pytest.raises(ConfigError, match=r"localhost:\d+ \(worker 1\) did not come"):
        meet(Cluster((f"127.0.0.1:{port}", f"localhost:{port}"), 0), seconds=0.5)


def test_a_worker_has_come_when_it_has_read_the_answer():
    """One that gave up before would greet again, when nobody listens any more."""
    (port,) = free_ports(1)
    with cluster._listening(Cluster((f"127.0.0.1:{port}", "127.0.0.1:1"), 0)) as heard:
        with socket.create_connection(("127.0.0.1", port)) as silent:  # holds up nobody
            with socket.create_connection(("127.0.0.1", port)) as link:
                link.sendall(b"pruneflow 1\n")
                assert link.recv(3) == b"ok\n"
            assert heard == set()
            assert cluster._greeted(f"127.0.0.1:{port}", 2)
            until = time.monotonic() + 60
            while heard != {2} and time.monotonic() < until:
                time.sleep(0.01)
        assert heard == {2}
        assert silent


def test_a_program_that_answers_otherwise_is_no_worker(monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_S", 0.2)
    (port,) = free_ports(1)

    def answer(listener):
        link, _ = listener.accept()
        with link:
            link.sendall(b"HTTP")

    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=answer, args=(other,), daemon=True).start()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"\(worker 1\) did not come"):
            meet(Cluster((f"127.0.0.1:{port}", address), 0), seconds=0.1)


def test_a_port_that_is_taken_is_refused():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=f"port {port} of this worker cannot be opened: Address already"
        ):
            meet(Cluster((f"127.0.0.1:{port}", "127.0.0.1:1"), 0), seconds=1)
