"""What a machine leaves to the processes that are started on it."""

from pathlib import Path

from accuracy.launch import left_by_group


def test_files_that_a_group_only_remembers_leave_it_their_memory(tmp_path: Path) -> None:
    """By hand: 900 of 1000 bytes are held, 700 of them for files not used of late."""
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    assert left_by_group(tmp_path) == 0  # says nothing of files: no control group of ours
    (tmp_path / "memory.stat").write_text("anon 150\nfile 750\ninactive_file 700\n")
    assert left_by_group(tmp_path) == 800
    (tmp_path / "memory.max").write_text("100\n")
    assert left_by_group(tmp_path) == 1  # full, which is not the same as without a limit
    (tmp_path / "memory.max").write_text("max\n")
    assert left_by_group(tmp_path) == 0
