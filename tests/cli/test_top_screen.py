"""What `tokenworks top` shows fits where it is shown, whatever is in it."""

import pytest
from rich.console import Console

from tokenworks.cli.top import WIDTH, screen
from tokenworks.factory.top import Look, Row

ROW = Row(
    name="route-ticket@12", requests_per_s=12.34, prompt_tokens_per_s=1234.5, completion_tokens_per_s=16.0,
    latency_p50_s=0.0057, latency_p95_s=0.043, ttft_p50_s=0.0051, ttft_p95_s=None, failed=0, refused=3,
)  # fmt: skip
LOOK = Look(
    url="http://127.0.0.1:8765", at=0.0, window_s=60.0, models=(ROW,), tenants=(ROW,), engines=(), in_flight=0,
    ledger_waiting=0, left_site_bytes=0,
)  # fmt: skip


def shown(look, width):
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as taken:
        console.print(screen(look, width))
    return taken.get()


@pytest.mark.parametrize("width", [80, 100, WIDTH])
@pytest.mark.parametrize("rows", [(), (ROW,)])
def test_no_column_is_left_out_at_any_width(width, rows):
    text = shown(Look(**{name: getattr(LOOK, name) for name in LOOK.__struct_fields__} | {"models": rows}), width)
    words = text.split()
    assert all(words.count(word) >= 2 for word in ("req/s", "in", "out", "p95", "failed", "refused"))
    assert not rows or "1234.5" in words
    assert "…" not in text
    assert not rows or "5.7\u00a0ms" in text
