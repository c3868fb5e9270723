"""What turns a network's output into a verdict, without torch: thresholds, and when a region counts
as found. Used by training, evaluation, report and bundle alike."""
