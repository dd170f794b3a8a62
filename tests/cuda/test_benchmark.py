"""The benchmark on a GPU runs through on the stand-in, so that no line of it is new to the machine that has one."""

import json
import sys

import pytest

from benchmarks import gpu, on_device
from benchmarks.contenders import JAX, NAIVE, OURS, PLAN, TORCH, TORCH_COMPILE, TORCH_GRAPHS


def dry_run(tmp_path):
    assert gpu.main(["--dry-run", "--out", str(tmp_path / "gpu.json")]) == 0
    return json.loads((tmp_path / "gpu.json").read_text())


def test_rows_of_a_dry_run(strict, tmp_path, capsys):
    found = dry_run(tmp_path)
    rows = {(row["workload"], row["contender"]): row for row in found["rows"]}
    assert {name for _, name in rows} == {OURS, PLAN, TORCH, TORCH_GRAPHS, JAX, TORCH_COMPILE}
    assert {workload for workload, _ in rows} == set(gpu.TINY)
    for workload in gpu.TINY:
        for name in (OURS, PLAN):
            row = rows[workload, name]
            assert "failure" not in row and row["us_fastest"] <= row["us_per_step"] <= row["us_slowest"]
            assert row["bytes"] > 0 and "ratio_to_torch_eager" in row
        assert rows[workload, PLAN]["bytes"] < rows[workload, OURS]["bytes"]
    assert found["machine"]["gpu"] == "A stand-in" and found["machine"]["cupy"]
    parts = {row["part"]: row for row in found["parts"]}
    assert not [row for row in found["parts"] if "failure" in row]
    assert parts["Adam, share of the bandwidth of a copy"]["ratio"] > 0
    assert {"route", "us_tiled", "us_cublas"} <= next(row for name, row in parts.items() if "@" in name).keys()
    assert "What was to be reached" in capsys.readouterr().out


def test_a_contender_that_fails_is_a_row(strict, tmp_path, monkeypatch, capsys):
    made, references = gpu.make, []

    def make(name, workload, on_gpu=False):
        references.extend([workload.name] if name == NAIVE else [])
        if on_gpu and name == PLAN and workload.name == "cnn b32":
            raise RuntimeError("an illegal memory access")
        return made(name, workload, on_gpu)

    monkeypatch.setattr(gpu, "make", make)
    monkeypatch.setattr(gpu, "TINY", {name: gpu.TINY[name] for name in ("cnn b32", "784-128-10 b64")})
    rows = {(row["workload"], row["contender"]): row for row in dry_run(tmp_path)["rows"]}
    assert sorted(references) == ["784-128-10 b64", "cnn b32"]  # once, for all processes
    assert rows["cnn b32", PLAN]["failure"] == "RuntimeError: an illegal memory access"
    assert "us_per_step" in rows["cnn b32", OURS] and "us_per_step" in rows["784-128-10 b64", PLAN]
    assert "minihybrid plan on cnn b32: RuntimeError: an illegal memory access" in capsys.readouterr().out


TASK = gpu.Task([OURS, PLAN], list(gpu.TINY.values())[:2], gpu.DRY, {})


def test_what_a_process_leaves_out_another_one_does():
    asked = []

    def rows_of(task, deadline):
        asked.append([workload.name for workload in task.workloads])
        yield {"workload": task.workloads[0].name, "contender": OURS}
        if len(asked) > 1:
            yield {"workload": task.workloads[0].name, "contender": PLAN}

    rows = gpu.run(TASK, gpu.time.monotonic() + 100, rows_of)
    assert len(rows) == 4 and not any("failure" in row for row in rows)
    first, second = (workload.name for workload in TASK.workloads)
    assert asked == [[first, second], [first, second], [second]] and rows[1]["contender"] == PLAN


def test_a_process_that_says_nothing_is_told_of():
    rows = gpu.run(TASK, gpu.time.monotonic() + 100, lambda task, deadline: iter(()))
    assert {row["failure"] for row in rows} == {"its process ended without a word"} and len(rows) == 4


def test_no_time_is_left():
    rows = gpu.run(TASK, gpu.time.monotonic() - 1, lambda task, deadline: iter(()))
    assert {row["failure"] for row in rows} == {"no time was left"} and len(rows) == 4


def test_a_task_in_a_process_of_its_own():
    task = gpu.Task(["no such contender"], [gpu.TINY["784-128-10 b64"]], gpu.DRY, {"784-128-10 b64": []})
    first, *_ = gpu.in_a_process(task, gpu.time.monotonic() + 60)
    assert first == {
        "workload": "784-128-10 b64",
        "contender": "no such contender",
        "failure": "KeyError: 'no such contender'",
    }
    assert list(gpu.in_a_process(task, gpu.time.monotonic() - 1)) == []


def row(workload, contender, us, **more):
    return {"workload": workload, "contender": contender, "us_per_step": us, **more}


def test_bars():
    digits = gpu.BARRED[0]
    rows = [
        row(digits, PLAN, 30.0, graph_launches=1, waits=0),
        row(digits, TORCH, 300.0),
        row(digits, TORCH_GRAPHS, 25.0),
        {"workload": digits, "contender": JAX, "failure": "ImportError"},
    ]
    judged = {
        bar.what: bar for bar in gpu.bars(rows, [{"part": "Adam, share of the bandwidth of a copy", "ratio": 0.9}])
    }
    assert judged[f"{digits}, ratio to {TORCH}"].verdict == "met"
    assert judged[f"{digits}, ratio to {TORCH_GRAPHS}"].verdict == "missed"
    assert judged[f"{digits}, ratio to {JAX}"].verdict == "not measured"
    assert judged[f"{digits}, graph launches a step"].verdict == "met"
    assert judged["Adam, share of the bandwidth of a copy"].verdict == "met"
    assert judged["2-16-1 b4, us a step"].found is None


def test_routes_that_lose_are_named():
    measured = [
        {"part": "a", "route": "tiled", "us_tiled": 5.0, "us_cublas": 4.0},
        {"part": "b", "route": "tiled", "us_tiled": 5.0, "us_cublas": 4.9},
    ]
    assert gpu._wrong_routes(measured)[1] == "- a: tiled is taken, cublas is faster"


def test_without_a_device_it_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert gpu.main(["--quick"]) == 2
    assert "needs CuPy" in capsys.readouterr().err


class Event:
    def __init__(self, name, device_type):
        self.name, self.device_type = name, device_type


def test_what_a_step_asks_for(monkeypatch):
    """With a profiler that saw ten steps."""
    kinds = type("DeviceType", (), {"CPU": 0, "CUDA": 1})
    seen = [Event("cudaGraphLaunch", 0)] * 10 + [Event("cudaMemcpyAsync", 0)] * 20 + [Event("cudaDeviceSynchronize", 0)]
    seen += [Event("a kernel", 1)] * 150

    class Profile:
        def __init__(self, activities): ...
        def __enter__(self):
            return self

        def __exit__(self, *exception): ...
        def events(self):
            return seen

    profiler = type(sys)("torch.profiler")
    profiler.profile, profiler.ProfilerActivity = Profile, type("ProfilerActivity", (), {"CPU": 0, "CUDA": 1})
    autograd = type(sys)("torch.autograd")
    autograd.DeviceType = kinds
    for name, module in {"torch": type(sys)("torch"), "torch.profiler": profiler, "torch.autograd": autograd}.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert on_device.work_of(lambda: None, lambda: None) == (3, 1, 0, 15)
    seen.clear()
    with pytest.raises(RuntimeError, match="saw nothing"):
        on_device.work_of(lambda: None, lambda: None)
