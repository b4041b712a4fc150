"""A public class has its name alone."""

import ast
from collections import defaultdict

from tests.repo.source import product_files

PACKAGES = ("cascadia_sglang", "cascadia_kernels", "cascadia_patches")


def test_no_two_public_classes_share_a_name() -> None:
    homes = defaultdict(list)
    for source in product_files():
        if source.module.split(".")[0] in PACKAGES:
            for node in source.tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes[node.name].append(str(source))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}
