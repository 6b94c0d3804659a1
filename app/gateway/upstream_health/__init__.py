"""How upstreams do, and what they are spared: breakers, retry budgets, lanes. No dialect is known here."""
