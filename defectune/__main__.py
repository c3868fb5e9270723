"""`python -m defectune`."""

from defectune.shadowing import leave_current_folder

# Before anything of ours is imported: the folder may hold a training.py or a report/ of the user's.
leave_current_folder()

from defectune.cli import main  # noqa: E402

main()
