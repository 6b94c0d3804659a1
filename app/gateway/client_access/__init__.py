"""Client keys: authentication, what each key may do, and the tenant that its data belongs to."""
