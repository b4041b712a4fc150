"""What our hooks read of a batch is there, too, where a CUDA-graph runner made the batch.

SGLang hands the live batch to `ModelRunner`. Its graph runners make a batch of their own from some
of the fields; what is not among these has its default, and no error says so. Both sides are read
from the source: the fields that SGLang's runners fill, and those that our code asks for.
"""

import ast
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascadia_patches import registry
from cascadia_patches.registry import load_patch
from tests.repo.source import product_files

BATCH = "ForwardBatch"
SGLANG = Path(str(importlib.metadata.distribution("sglang").locate_file("sglang/srt")))


def constructions(tree: ast.AST) -> Iterator[ast.Call]:
    """Every place that makes a batch."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rsplit(".")[-1] == BATCH:
            yield node


def runners() -> dict[str, list[ast.Call]]:
    """The batches that SGLang's runners make, by file."""
    files = {
        *SGLANG.glob("model_executor/runner/*.py"),
        *SGLANG.glob("**/*graph_runner*.py"),
    }
    calls_by_file = {
        str(file.relative_to(SGLANG)): [*constructions(ast.parse(file.read_text("utf-8")))]
        for file in sorted(files)
    }
    return {file: calls for file, calls in calls_by_file.items() if calls}


RUNNERS = runners()


def annotated(function: ast.FunctionDef) -> list[str]:
    """The parameters of a function that are batches."""
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return [
        argument.arg
        for argument in arguments
        if argument.annotation is not None and BATCH in ast.unparse(argument.annotation)
    ]


def fields_read(function: ast.FunctionDef) -> set[str]:
    """The fields of its batches that a function reads, as attributes or by `getattr`."""
    batches = set(annotated(function))
    fields = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in batches:
            fields.add(node.attr)
        is_getattr = isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr"
        if is_getattr and ast.unparse(node.args[0]) in batches:
            fields.add(ast.literal_eval(node.args[1]))
    return fields


def hooked(target_begins: str) -> set[str]:
    """The methods that are called by the hooks on targets whose path begins so."""
    names = set()
    for name in registry.ALL_PATCHES:
        if not load_patch(name).target.startswith(target_begins):
            continue
        (source,) = [file for file in product_files() if file.module == f"cascadia_patches.{name}"]
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                names.add(node.func.attr)
    return names


def reads_of_graph_batches() -> dict[str, set[str]]:
    """Fields that our code reads of batches, by function; not of the live one.

    The live batch is in the hands of what the hooks on `ModelRunner` call, and of nothing else.
    """
    has_live_batch = hooked("sglang.srt.model_executor.model_runner.ModelRunner.")
    fields_by_function: dict[str, set[str]] = {}
    for source in product_files():
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.FunctionDef) or node.name in has_live_batch:
                continue
            if annotated(node):
                fields_by_function[f"{source.module}.{node.name}"] = fields_read(node)
    return fields_by_function


READS = reads_of_graph_batches()


def test_the_runners_and_our_reads_are_found() -> None:
    assert len(RUNNERS) >= 4
    assert "model_executor/runner/prefill_cuda_graph_runner.py" in RUNNERS
    assert "cascadia_sglang.drafts.reader.read" in READS
    assert "note_batch" in hooked("sglang.srt.model_executor.model_runner.ModelRunner.")


@pytest.mark.parametrize("file", RUNNERS)
def test_no_hook_reads_a_field_that_a_graph_runner_leaves_out(file: str) -> None:
    for call in RUNNERS[file]:
        filled = {keyword.arg for keyword in call.keywords}
        assert None not in filled, f"{file}:{call.lineno} has fields that the source does not name"
        for function, fields in READS.items():
            missing = fields - filled
            assert not missing, f"{function} reads {missing}, which {file}:{call.lineno} lacks"


def test_the_ids_of_the_requests_are_such_a_field() -> None:
    """Were the reader to ask a graph runner's batch for them, the test above would fail."""
    source = "def read(self, forward_batch: 'ForwardBatch'): return zip(forward_batch.rids or ())"
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert fields_read(function) == {"rids"}
    filled = [
        {keyword.arg for keyword in call.keywords} for calls in RUNNERS.values() for call in calls
    ]
    assert any("rids" not in fields for fields in filled)
