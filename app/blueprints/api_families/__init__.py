"""What clients ask of an API family, one module for each."""
