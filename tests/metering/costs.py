"""A costs file as a person would write it."""

# The worked node of the literature on unit costs: 280,000 over 4 years with 10 % left, 8 kW, PUE 1.54, 0.15 a kWh,
# 60,000 a year for people, 5 % of the price a year for upkeep -> 7.19 + 1.85 + 6.85 + 1.60 = 17.49 an hour.
COSTS = """
as_of = 2026-10-01
currency = "EUR"
zone = "UTC"

[[nodes]]
name = "a"
since = 2026-01-01
price = 280000
residual = 0.10
life_years = 4
idle_kw = 2.0
busy_kw = 8.0
pue = 1.54
staff_per_year = 60000
maintenance_per_year = 14000

[[tariffs]]
since = 2026-01-01
[[tariffs.bands]]
per_kwh = 0.15
"""
OCTOBER = 1_790_812_800.0  # 2026-10-01T00:00Z
