"""`tokenworks limit`: set, listed with what was spent, dropped, and refused where it cannot be meant."""

import json

from system.processes import tokenworks


def test_a_limit_is_set_listed_and_dropped(tmp_path):
    assert tokenworks(tmp_path, "limit", "set", "--tenant", "acme", "--tokens-per-day", "500").returncode == 0
    (shown,) = json.loads(tokenworks(tmp_path, "--json", "limit", "list").stdout)
    assert (shown["limit"]["tokens_per_day"], shown["spent_today"]) == (500, 0)
    dropped = tokenworks(tmp_path, "limit", "drop", "--tenant", "acme")
    assert dropped.stdout.strip() == "dropped the limit for tenant=acme"
    again = tokenworks(tmp_path, "limit", "drop", "--tenant", "acme")
    assert again.returncode == 4
    assert "tokenworks limit list" in again.stderr


def test_a_project_has_a_limit_of_its_own(tmp_path):
    web = ("--tenant", "acme", "--project", "web")
    done = tokenworks(tmp_path, "limit", "set", *web, "--tokens-per-day", "500")
    assert done.stdout.strip() == "set for tenant=acme project=web: 500 tokens per day"
    assert tokenworks(tmp_path, "limit", "list").stdout.splitlines()[1].split()[:4] == [
        "tenant=acme", "project=web", "0", "0",
    ]  # fmt: skip
    assert tokenworks(tmp_path, "limit", "set", "--project", "web", "--concurrency", "1").returncode == 2
    assert tokenworks(tmp_path, "limit", "drop", *web).returncode == 0


def test_a_limit_without_a_bound_ends_with_status_2(tmp_path):
    done = tokenworks(tmp_path, "limit", "set", "--tenant", "acme")
    assert done.returncode == 2
    assert "bounds nothing" in done.stderr


def test_money_a_share_and_a_priority_are_set_and_shown(tmp_path):
    done = tokenworks(
        tmp_path, *("limit", "set", "--tenant", "acme", "--money-per-month", "50.25"),
        *("--weight", "2", "--priority", "batch"),
    )  # fmt: skip
    assert done.stdout.strip() == "set for tenant=acme: 50.25 money per month, weight 2, priority at most batch"
    (shown,) = json.loads(tokenworks(tmp_path, "--json", "limit", "list").stdout)
    assert (shown["limit"]["money_per_month_micro"], shown["micro_this_month"]) == (50_250_000, 0)
    assert "(spent 0 this month)" in tokenworks(tmp_path, "limit", "list").stdout
    assert tokenworks(tmp_path, "limit", "set", "--tenant", "acme", "--money-per-day", "nan").returncode == 2
