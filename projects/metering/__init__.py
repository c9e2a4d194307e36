"""What was used: journals, hours, prices, sinks."""
