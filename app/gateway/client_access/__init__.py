"""Client keys: who may ask, what each may do, and whose data is whose."""
