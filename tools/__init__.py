"""Commands around the project: tables, benchmark, images. Each has --help."""
