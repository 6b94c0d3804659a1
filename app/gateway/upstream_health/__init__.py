"""Tracks upstreams' health and protects them: circuit breakers, retry budgets, concurrency limits."""
