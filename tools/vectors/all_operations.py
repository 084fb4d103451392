"""All operations there are, as a level."""

from tools.vectors import cell_operations, more_operations
from tools.vectors.signals import Table
from tools.vectors.trial import Trial

OPERATIONS = (*cell_operations.OPERATIONS, *more_operations.OPERATIONS)


def operations_level(trial: Trial) -> list[Table]:
    """The same for every trial."""
    return [operation.table() for operation in OPERATIONS]
