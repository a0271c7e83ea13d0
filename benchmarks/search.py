"""Time exact nearest-neighbour searches side by side: ``python -m benchmarks.search``.

Every method is given the same embeddings, of unit norm for cosine, and two threads. Times are the
best of several rounds in which the methods take turns, so that other load on the machine meets all
alike. Peak memory is what one call in a process of its own adds to the embeddings: resident memory,
or on a GPU the memory that PyTorch holds there. Agreement is the share of queries whose first
neighbour is the one of greatest float64 similarity.

Where faiss's OpenBLAS does not know the CPU and falls back to generic code, OPENBLAS_CORETYPE is
set so that it uses the CPU's vector instructions: peers are measured at their best.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.memory import reset_peak, resident_bytes
from src.embeddings.folder import open_folder
from src.exact_retrieval.search.multiplication import (
    Precision,
    fastest_precision,
    multiply,
    product_dtype,
)
from src.exact_retrieval.search.nearest import nearest_references
from src.exact_retrieval.search.scoring import Distance

try:
    import faiss
    import sklearn.neighbors
    import threadpoolctl
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
except ImportError as error:
    sys.exit(f"{error}. The peers are in the `bench` extra: pip install -e '.[bench]'")

DATA = ("clustered", "gaussian", "relu")
THREADS = 2
OURS = "nearest_references"
FAISS = "faiss IndexFlat"
DENSE = "torch cdist or product"
CUVS = "cuVS brute force"
BARE = ("bare bfloat16 product", "bare float32 product")
BARE_INT8 = "bare int8 product"
TILE = 4096
CALLS = 3  # in a row, of which the first has cold caches
ENOUGH = 5.0  # seconds from which one call is enough
PAUSE = 0.5  # seconds in which the threads of the method before stop spinning
Search = Callable[[], Tensor | None]


class Problem(NamedTuple):
    """What to search for, as the command line spells it."""

    size: str
    data: str
    width: int
    distance: Distance
    k: int
    device: str

    def arguments(self) -> list[str]:
        """Spell it again."""
        names = ("--sizes", "--data", "--width", "--distance", "--k", "--device")
        return [text for pair in zip(names, map(str, self), strict=True) for text in pair]

    def title(self) -> str:
        """Describe it in a line."""
        queries, references = (f"{int(n):,}" for n in self.size.split("x"))
        name = self.data if self.data in DATA else Path(self.data).name
        shape = f"{queries} x {references} x {self.width}"
        where = f"{THREADS} threads" if self.device == "cpu" else torch.cuda.get_device_name()
        return f"{shape}, {name}, {self.distance}, k = {self.k}, {where}"


def main() -> None:
    """Print one table per size, data set and number of neighbours."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    sizes = ["3368x13115", "2000x200000", "1000x1000000"]
    parser.add_argument("--sizes", nargs="+", default=sizes, metavar="QxR")
    parser.add_argument(
        "--data",
        nargs="+",
        default=["clustered", "gaussian"],
        help=f"what to draw, among {', '.join(DATA)};\n"
        "or a .npz file with one array [N, D] of embeddings, or a folder of embeddings that an\n"
        "evaluation has kept, of which queries are a random part",
    )
    parser.add_argument("--width", type=int, default=256, help="of what is drawn")
    parser.add_argument(
        "--distance", nargs="+", default=["cosine"], choices=["cosine", "euclidean"]
    )
    parser.add_argument("--k", nargs="+", type=int, default=[1, 10])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds that the best time is taken of"
    )
    parser.add_argument(
        "--methods", nargs="+", help="leave out all others but ours and the first peer"
    )
    parser.add_argument("--measure-memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return
    give_faiss_its_best_kernels()
    torch.set_num_threads(THREADS)
    faiss.omp_set_num_threads(THREADS)
    for columns in product(options.sizes, options.data, options.distance, options.k):
        size, data, distance, k = columns
        run(Problem(size, data, options.width, distance, k, options.device), options)


def give_faiss_its_best_kernels() -> None:
    """Start again with OPENBLAS_CORETYPE where a BLAS of a peer runs without the CPU's vectors."""
    cores = {library.get("architecture") for library in threadpoolctl.threadpool_info()}
    features = torch.cpu.get_capabilities()
    best = "SkylakeX" if features.get("avx512_f") else "Haswell" if features.get("avx2") else None
    if best and cores & {"Prescott", "Nehalem"} and "OPENBLAS_CORETYPE" not in os.environ:
        os.environ["OPENBLAS_CORETYPE"] = best
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.search", *sys.argv[1:]])


def run(problem: Problem, options: argparse.Namespace) -> None:
    """Measure all methods on one problem, or the memory of one of them."""
    query, reference = embeddings(problem)
    problem = problem._replace(size=f"{len(query)}x{len(reference)}", width=query.shape[1])
    if options.measure_memory_of:
        print(json.dumps(peak_memory(options.measure_memory_of, problem, query, reference)))
        return
    methods = prepare(problem, query, reference)
    peer = FAISS if FAISS in methods else DENSE
    if options.methods:
        wanted = {OURS, peer, *BARE, BARE_INT8, *options.methods}
        methods = {name: search for name, search in methods.items() if name in wanted}
    seconds, indices = time_in_turns(methods, options.rounds)
    exact = nearest_references(query, reference, distance=problem.distance, precision="float64")
    truth = exact.index[:, 0].cpu()
    columns = (
        "seconds",
        f"{peer.split()[0]} / it",
        "it / bare bf16",
        "it / bare f32",
        "peak MB",
        "agreement",
    )
    table = Table("search", title=problem.title())
    for column in columns:
        table.add_column(column, justify="right")
    for name, index in indices.items():
        table.add_row(
            name,
            f"{seconds[name]:.4f}",
            f"{seconds[peer] / seconds[name]:.2f}",
            *(f"{seconds[name] / seconds[bare]:.2f}" for bare in BARE),
            f"{peak_memory_in_a_process(name, problem):.0f}",
            "-" if index is None else f"{(index == truth).double().mean():.3%}",
        )
    Console(width=120).print(table)


def time_in_turns(
    methods: dict[str, Search], rounds: int
) -> tuple[dict[str, float], dict[str, Tensor | None]]:
    """Return the best time and the result of every method."""
    seconds = dict.fromkeys(methods, float("inf"))
    indices: dict[str, Tensor | None] = {}
    for _ in range(rounds):
        for name, search in methods.items():
            time.sleep(PAUSE)
            for _ in range(CALLS):
                if name in indices and seconds[name] > ENOUGH:
                    break
                start = time.perf_counter()
                indices[name] = search()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds, indices


def peak_memory_in_a_process(name: str, problem: Problem) -> float:
    """Run this script for the memory of one method."""
    arguments = [*problem.arguments(), "--measure-memory-of", name]
    command = [sys.executable, "-m", "benchmarks.search", *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(json.loads(output))


def embeddings(problem: Problem) -> tuple[Tensor, Tensor]:
    """Draw or read queries and references."""
    queries, references = (int(n) for n in problem.size.split("x"))
    if problem.data in DATA:
        rows = draw(queries + references, problem.width, problem.data)
    else:
        rows = read(Path(problem.data), queries + references)
    if problem.distance == "cosine":
        rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    rows = rows.to(problem.device)
    return rows[:queries].clone(), rows[queries:].clone()


def draw(count: int, width: int, data: str) -> Tensor:
    """Draw embeddings: around one centre per 18 of them, without structure, or after a ReLU."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(count, width, generator=generator)
    if data == "gaussian":
        return rows
    centres = torch.randn(max(1, count // 18), width, generator=generator)
    rows.mul_(0.6).add_(centres[torch.randint(len(centres), (count,), generator=generator)])
    return rows.relu_() if data == "relu" else rows


def read(path: Path, count: int) -> Tensor:
    """Read embeddings in random order."""
    if path.is_dir():
        sets = open_folder(path).sets.values()
        found = [torch.cat([part.embedding for each in sets for part in each.blocks(0, len(each))])]
    elif not path.is_file():
        sys.exit(f"`--data` should be {', '.join(DATA)}, a .npz file or a folder, got {path}")
    else:
        with np.load(path) as arrays:
            found = [torch.from_numpy(arrays[name]) for name in arrays if arrays[name].ndim == 2]
    if len(found) != 1 or len(found[0]) < count:
        sys.exit(f"{path} should hold one array [N, D] of at least {count} embeddings")
    rows = found[0].float()
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:count]]


def prepare(
    problem: Problem, query: Tensor, reference: Tensor, *, only: str | None = None
) -> dict[str, Search]:
    """Return the searches; each gives the first neighbours, a bare product gives None."""
    k, distance = problem.k, problem.distance
    q, r = query.cpu().numpy(), reference.cpu().numpy()

    def ours(precision: Precision | Literal["auto"] = "auto") -> Tensor:
        found = nearest_references(query, reference, k=k, distance=distance, precision=precision)
        return found.index[:, 0].cpu()

    methods: dict[str, Callable[[], Search]] = {
        OURS: lambda: ours,
        f"{OURS}, float32": lambda: lambda: ours("float32"),
        FAISS: lambda: faiss_search(q, r, problem),
        CUVS: lambda: cuvs_search(query, reference, problem),
        DENSE: lambda: lambda: torch_search(query, reference, problem),
        BARE[0]: lambda: bare_product(query, reference, torch.bfloat16),
        BARE[1]: lambda: bare_product(query, reference, torch.float32),
    }
    if fastest_precision(query.device) == "int8":
        methods[BARE_INT8] = lambda: bare_product(query, reference, torch.int8)
    if problem.device == "cuda" and not hasattr(faiss, "StandardGpuResources"):
        del methods[FAISS]
    if problem.device == "cpu" or not find_spec("cuvs"):
        del methods[CUVS]
    if k == 1 and problem.device == "cpu":
        methods["scikit-learn brute"] = lambda: sklearn_search(q, r)
        methods["AccuracyCalculator"] = lambda: accuracy_calculator(query, reference)
    return {name: method() for name, method in methods.items() if only in (None, name)}


def faiss_search(query: Any, reference: Any, problem: Problem) -> Search:
    """Search by faiss; building the index, a copy, is not timed."""
    kind = faiss.IndexFlatIP if problem.distance == "cosine" else faiss.IndexFlatL2
    index: Any = kind(problem.width)
    if problem.device == "cuda":
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    index.add(reference)
    return lambda: torch.from_numpy(index.search(query, problem.k)[1][:, 0])


def cuvs_search(query: Tensor, reference: Tensor, problem: Problem) -> Search:
    """Search by cuVS on the GPU; building the index is not timed."""
    brute_force = import_module("cuvs.neighbors.brute_force")
    metric = {"cosine": "inner_product", "euclidean": "sqeuclidean"}[problem.distance]
    index = brute_force.build(reference, metric=metric)

    def search() -> Tensor:
        _, found = brute_force.search(index, query, problem.k)
        return torch.as_tensor(found, device=query.device)[:, 0].cpu()

    return search


def torch_search(query: Tensor, reference: Tensor, problem: Problem) -> Tensor:
    """Search as most evaluation code does, with all similarities in memory."""
    if problem.distance == "cosine":
        similarity = query @ reference.T
    else:
        similarity = -torch.cdist(query, reference)
    if problem.k == 1:
        return similarity.argmax(1).cpu()
    return similarity.topk(problem.k, dim=1).indices[:, 0].cpu()


def sklearn_search(query: Any, reference: Any) -> Search:
    """Search by scikit-learn, whose euclidean neighbours are those by cosine at unit norm."""
    search = sklearn.neighbors.NearestNeighbors(n_neighbors=1, algorithm="brute").fit(reference)
    return lambda: torch.from_numpy(search.kneighbors(query, return_distance=False)[:, 0])


def accuracy_calculator(query: Tensor, reference: Tensor) -> Search:
    """Search as pytorch-metric-learning's evaluation does, to compute precision at 1."""
    calculator = AccuracyCalculator(include=("precision_at_1",), k=1, device=torch.device("cpu"))
    labels = torch.zeros(len(query)).long(), torch.zeros(len(reference)).long()

    def search() -> None:
        calculator.get_accuracy(query, labels[0], reference, labels[1])

    return search


def bare_product(query: Tensor, reference: Tensor, dtype: torch.dtype) -> Search:
    """Multiply tile by tile and drop the result."""
    greatest = max(float(query.abs().max()), float(reference.abs().max()))
    scale = 1.0 if dtype.is_floating_point else 127 / greatest
    q, r = (query * scale).to(dtype), (reference * scale).to(dtype)
    width = 2**22 // TILE
    out = q.new_empty(TILE * width, dtype=product_dtype(dtype))

    def multiply_all() -> None:
        for rows in torch.split(r, TILE):
            for columns in torch.split(q, width):
                shape = (len(rows), len(columns))
                multiply(rows, columns, out=out[: shape[0] * shape[1]].view(shape))

    return multiply_all


def peak_memory(name: str, problem: Problem, query: Tensor, reference: Tensor) -> float:
    """Measure the megabytes that preparing and one call add at their peak; on a CPU, on Linux."""
    if problem.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        prepare(problem, query, reference, only=name)[name]()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    nearest_references(query[:8], reference[:64])  # load libraries' kernels and thread pools
    reset_peak()
    before = resident_bytes("VmRSS")
    prepare(problem, query, reference, only=name)[name]()
    return (resident_bytes("VmHWM") - before) / 2**20


if __name__ == "__main__":
    main()
