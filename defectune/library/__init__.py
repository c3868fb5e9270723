"""The use cases behind `import defectune` and behind the command line; nothing here prints."""
