"""README's table of quality is what was measured."""

import json
from pathlib import Path

import quality_table

ROOT = Path(__file__).parents[2]


def test_readme_has_the_table_that_the_measurements_give() -> None:
    table = json.loads((ROOT / "docs" / "quality.json").read_text(encoding="utf-8"))
    assert quality_table.markdown(table) in (ROOT / "README.md").read_text(encoding="utf-8")
