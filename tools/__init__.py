"""Commands around the project: tables, benchmark, images. Each has --help."""

import host  # noqa: F401 (from here on Ctrl-C is heard without a traceback)
