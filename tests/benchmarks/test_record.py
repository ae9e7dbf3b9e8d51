"""What is kept of a benchmark."""

from __future__ import annotations

import json

from benchmarks.record import Section, keep


def test_a_record_has_its_command_and_no_path_of_the_machine(tmp_path):
    options = {"peer": str(tmp_path / "checkout"), "rounds": 3, "threads": 1}
    keep("egnn", options | {"results": str(tmp_path)}, [Section("t", ["a"], [[1.5]])])
    record_text = (tmp_path / "egnn.json").read_text()
    assert json.loads(record_text)["command"] == (
        "python -m benchmarks egnn --peer checkout --rounds 3 --threads 1"
    )
    assert str(tmp_path) not in record_text
    assert json.loads(record_text)["sections"][0]["rows"] == [{"a": "1.5"}]


def test_each_of_several_folders_is_kept_by_its_name(tmp_path):
    options = {"runs": f"{tmp_path}/one,{tmp_path}/two", "threads": 1}
    options["results"] = str(tmp_path)
    keep("class-balance", options, [Section("t", ["a"], [[1.5]])])
    record = json.loads((tmp_path / "class-balance.json").read_text())
    assert "--runs one,two" in record["command"]
