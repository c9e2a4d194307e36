"""What was used: journals, periods, bills, prices, budgets, sinks."""
