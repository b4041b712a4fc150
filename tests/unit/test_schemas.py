"""The schemas beside the package are those of the structs that read and write the files."""

import json

import pytest

from cascadia_sglang.schemas import NAMES, read_schema
from cascadia_sglang.schemas.write import build_schema


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_up_to_date(name):
    """Otherwise: `python -m cascadia_sglang.schemas.write`."""
    assert read_schema(name) == build_schema(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_describes_every_field(name):
    kinds = json.loads(read_schema(name))["$defs"]
    fields = {
        f"{kind}.{field}": entry
        for kind, definition in kinds.items()
        for field, entry in definition["properties"].items()
    }
    assert [field for field, entry in fields.items() if not entry.get("description")] == []
    assert [kind for kind, definition in kinds.items() if not definition["description"]] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_has_its_files_version(name):
    version = {"calibration": 3}.get(name, 1)
    assert json.loads(read_schema(name))["$id"] == f"cascadia/{name}/{version}"
