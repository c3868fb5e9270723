"""metrics.csv of a training that went on is that of an undisturbed one."""

import csv

from training.lightning_loop import KeptCsvLogger


def log(folder, epochs, names=("train_loss", "val_loss")):
    """What Lightning does: one row for each metric of an epoch, at the epoch's last step."""
    logger = KeptCsvLogger(folder, name="log", version=0, flush_logs_every_n_steps=1)
    for epoch in epochs:
        for name in names:
            logger.log_metrics({name: epoch + 0.5, "epoch": epoch}, step=3 * epoch + 2)


def rows(folder):
    with (folder / "log" / "version_0" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_epochs_before_a_kill_are_kept_and_those_taken_again_stand_once(tmp_path):
    log(tmp_path / "whole", range(6))
    # Killed in epoch 4, whose checkpoint was of epoch 2.
    log(tmp_path / "killed", range(4))
    log(tmp_path / "killed", range(3, 6))
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    assert len(rows(tmp_path / "whole")) == 12


def test_new_columns_and_a_line_that_was_cut_off(tmp_path):
    log(tmp_path / "killed", range(2), names=("train_loss",))
    path = tmp_path / "killed" / "log" / "version_0" / "metrics.csv"
    path.write_text(path.read_text() + "2,")
    log(tmp_path / "killed", range(2, 4))
    found = rows(tmp_path / "killed")
    assert [row["step"] for row in found] == ["2", "5", "8", "8", "11", "11"]
    assert [row["val_loss"] for row in found] == ["", "", "", "2.5", "", "3.5"]


def test_a_training_from_the_beginning_starts_its_log_anew(tmp_path):
    log(tmp_path / "again", range(5))
    log(tmp_path / "again", range(2))
    assert {row["epoch"] for row in rows(tmp_path / "again")} == {"0", "1"}
