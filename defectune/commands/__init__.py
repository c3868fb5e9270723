"""The commands of the command line, a file for each part of the job."""
