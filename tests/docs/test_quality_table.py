"""The tables of quality are what was measured."""

import json
from pathlib import Path

import quality_table

ROOT = Path(__file__).parents[2]
TABLE = json.loads((ROOT / "docs" / "quality.json").read_text(encoding="utf-8"))


def test_the_documents_have_the_tables_that_the_measurements_give() -> None:
    assert quality_table.markdown(TABLE) in (ROOT / "docs" / "QUALITY.md").read_text(encoding="utf-8")
    assert quality_table.short(TABLE) in (ROOT / "README.md").read_text(encoding="utf-8")
