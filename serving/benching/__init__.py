"""How fast an endpoint is: load from outside, figures from every sample, and how many units a rate needs."""
