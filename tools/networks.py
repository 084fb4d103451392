"""Every graph with every rule, for tools that go through all of them."""

from fixedpoint.build import GRAPHS, RULES

# A diagonal network's two rules are one.
NETWORKS = tuple((graph, rule) for graph in GRAPHS for rule in RULES if (graph, rule) != ("diagonal", "exact"))


def title(graph: str, rule: str) -> str:
    """How a network is named in a table."""
    return graph if graph == "diagonal" else f"{graph}, {rule}"
