"""Endpoints: the service of one model version, the supervisor that owns it and the calls that start and stop it."""
