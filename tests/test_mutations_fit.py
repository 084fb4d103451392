"""tools.mutate takes minutes; whether its mutations still fit the sources takes none."""

import pytest

from tools import mutate


@pytest.mark.parametrize("mutation", mutate.MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_fits_the_sources_and_its_tests_are_there(mutation: mutate.Mutation) -> None:
    for name, old, new in mutation.changes:
        assert (mutate.ROOT / name).read_text().count(old) == 1 and new != old, f"{name}: {old}"
    assert all((mutate.ROOT / test).is_file() for test in mutation.tests)
