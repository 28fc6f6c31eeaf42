"""What the tests of deploy/ share."""

from __future__ import annotations

from pathlib import Path

import promql_parser

DEPLOY = Path(__file__).parents[1] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "tokenworks.json"


def metrics_in(expression: str) -> set[str]:
    """Return the metrics that a PromQL expression asks for; raise `ValueError` where it does not parse."""
    found, left = set(), [promql_parser.parse(expression.replace("$__rate_interval", "5m"))]
    while left:
        node = left.pop()
        if isinstance(node, promql_parser.VectorSelector):
            found.add(node.name)
        elif isinstance(node, promql_parser.MatrixSelector):
            left.append(node.vector_selector)
        elif isinstance(node, promql_parser.Call):
            left += node.args
        elif isinstance(node, promql_parser.BinaryExpr):
            left += [node.lhs, node.rhs]
        elif hasattr(node, "expr"):
            left.append(node.expr)
    return found
